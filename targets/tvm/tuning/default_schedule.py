"""Good schedules without measuring: the default of every kernel, and what a search tries first. In the compiler process.

Everything here is a function of the kernel and the target alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import tvm
import tvm_ffi
from tvm.s_tir.schedule import Schedule, ScheduleError

from tamis.targets.tvm.tuning.block_facts import BlockFacts, blocks_of
from tamis.targets.tvm.tuning.contraction import Parts, Plan, apply_plan, plans
from tamis.targets.tvm.tuning.dot_products import apply_dot_plan, dot_plans
from tamis.targets.tvm.tuning.stages import contiguous_sum, elementwise, share, work
from tamis.targets.tvm.tuning.vector_unit import VectorUnit, vector_unit

Recipe = Callable[[Schedule], None]


def default_schedule(module: tvm.IRModule, target: tvm.target.Target) -> Schedule:
    """The first of ``candidate_schedules``; the kernel as it is if none of them works."""
    return next(candidate_schedules(module, target), Schedule(module))


def candidate_schedules(module: tvm.IRModule, target: tvm.target.Target) -> Iterator[Schedule]:
    """Schedules for a kernel ``main``, the best guess first, none twice."""
    unit = vector_unit(target)
    seen: set[int] = set()
    for recipe in _recipes(module, unit):
        schedule = Schedule(module, error_render_level="fast")
        try:
            recipe(schedule)
        except (ScheduleError, tvm.error.InternalError):
            continue
        digest = tvm_ffi.structural_hash(schedule.mod)
        if digest not in seen:
            seen.add(digest)
            yield schedule


def _recipes(module: tvm.IRModule, unit: VectorUnit) -> Iterator[Recipe]:
    for dot_plan in dot_plans(Schedule(module)):
        yield partial(apply_dot_plan, plan=dot_plan, unit=unit)
    trial = Schedule(module)
    parts = _contraction(trial)
    if parts is not None:
        for plan in plans(BlockFacts(trial, parts.reduction), unit):
            yield partial(_by_plan, plan=plan, unit=unit)
    yield partial(_by_stages, unit=unit, threads=True)
    yield partial(_by_stages, unit=unit, threads=False)


def _by_plan(schedule: Schedule, plan: Plan, unit: VectorUnit) -> None:
    parts = _contraction(schedule)
    assert parts is not None
    apply_plan(schedule, parts, plan, unit)


def _contraction(schedule: Schedule) -> Parts | None:
    """Inline what can be and tell the parts of a kernel with one reduction; None if it is another kind of kernel."""
    _inline(schedule)
    blocks = list(blocks_of(schedule))
    sums = [f for f in blocks if f.reduced]
    if len(sums) != 1 or not all(f.regular for f in blocks):
        return None
    place = blocks.index(sums[0])
    before, after = blocks[:place], blocks[place + 1 :]
    if len(before) > 1 or len(after) > 1:
        return None
    epilogue = after[0] if after else None
    if epilogue is not None and not _follows(epilogue, sums[0]):
        return None
    return Parts(sums[0].block, epilogue.block if epilogue else None, before[0].block if before else None)


def _follows(epilogue: BlockFacts, reduction: BlockFacts) -> bool:
    """Whether there is one result for each sum, but for the last columns, which only fill vectors up."""
    results = [epilogue.extents[v] for v in epilogue.spatial]
    summed = [reduction.extents[v] for v in reduction.spatial]
    return results[:-1] == summed[:-1] and len(results) == len(summed) and results[-1:] <= summed[-1:]


def _by_stages(schedule: Schedule, unit: VectorUnit, threads: bool) -> None:
    """Each stage by itself: sums over neighbours by lanes, all else vectorized over its innermost dimension."""
    _inline(schedule)
    if not threads:
        unit = VectorUnit(unit.bits, unit.registers, 1)
    for facts in list(blocks_of(schedule)):
        if not facts.regular:
            continue
        if not facts.reduced:
            elementwise(schedule, facts.block, unit, work(facts))
        elif contiguous_sum(schedule, facts.block, unit) is not None:
            pass
        else:
            _outer_sum(schedule, facts, unit)


def _outer_sum(schedule: Schedule, facts: BlockFacts, unit: VectorUnit) -> None:
    """A reduction whose results are shared among threads."""
    loops = schedule.get_loops(facts.block)
    kinds = list(facts.extents)
    spatial = [lp for lp, v in zip(loops, kinds, strict=True) if v in facts.spatial]
    reduced = [lp for lp, v in zip(loops, kinds, strict=True) if v in facts.reduced]
    schedule.reorder(*spatial, *reduced)
    share(schedule, spatial, unit, work(facts))


def _inline(schedule: Schedule) -> None:
    """Compute element-wise intermediates where they are used; borders of images stay, and slow functions used twice."""
    for facts in list(blocks_of(schedule)):
        if facts.reduced or not schedule.get_consumers(facts.block) or _keep(schedule, facts):
            continue
        _attempt(partial(schedule.compute_inline, facts.block))


def _keep(schedule: Schedule, facts: BlockFacts) -> bool:
    consumers = [BlockFacts(schedule, c) for c in schedule.get_consumers(facts.block)]
    summed = any(c.reduced for c in consumers)
    if facts.conditional and summed:
        return True
    return facts.slow > 0 and (len(consumers) > 1 or any(c.points > facts.points for c in consumers))


def _attempt(change: Callable[[], None]) -> bool:
    """Whether a transformation that may be impossible was possible."""
    try:
        change()
    except ScheduleError:
        return False
    return True
