"""MetaSchedule's own search as a source of candidates. Runs in the compiler process."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Schedule

from tamis.targets.tvm.tuning.intrinsics import load_intrinsics
from tamis.targets.tvm.tuning.tasks import Task

POPULATION = 8
KNOWN = 0.5
"""Share of a population that is bred from the best that were measured; the others are drawn at random."""
GENERATIONS = 1
UNROLLED = (0, 16, 64)
"""Steps that a candidate may unroll at most. TVM's own 512 take LLVM up to half a minute to build."""
MANY = 1 << 20
"""No limit of its own on the number of candidates: the search has one."""

_quiet = logging.getLogger("tamis.tvm")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
_quiet.setLevel(logging.CRITICAL)


class Evolution:
    """Candidates of one task from TVM's rules: random ones first, then offspring of the best.

    Args:
        task: The kernel.
        target: What it is for.
        model: Cost model, shared by all tasks.
        seed: Of the random choices.
        threads: Threads to generate with.
    """

    def __init__(
        self, task: Task, target: tvm.target.Target, model: ms.cost_model.CostModel, seed: int, threads: int
    ) -> None:
        load_intrinsics(target)
        self._model, self._task, self._target = model, task, target
        self._context = ms.TuneContext(
            mod=task.module,
            target=target,
            space_generator=_space(task, target),
            search_strategy=ms.search_strategy.EvolutionarySearch(
                population_size=POPULATION,
                init_measured_ratio=KNOWN,
                init_min_unmeasured=round(POPULATION * (1 - KNOWN)),
                genetic_num_iters=GENERATIONS,
            ),
            task_name=task.name,
            logger=_quiet,
            rand_state=1 + seed % (2**31 - 2),
            num_threads=threads,
        )
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(task.module)
        self._batch: list[ms.MeasureCandidate] = []
        self._started = False

    def propose(self, count: int) -> list[Schedule]:
        """At most ``count`` candidates that were not proposed before; fewer when the space is exhausted."""
        if not self._started:
            self._context.pre_tuning(MANY, count, None, self._database, self._model)
            self._started = True
        self._batch = list(self._context.generate_measure_candidates() or ())[:count]
        return [c.sch for c in self._batch]

    def tell(self, seconds: Sequence[float | None]) -> None:
        """Times of what was proposed last, in that order; None for a failure."""
        results = [
            ms.runner.RunnerResult([t], None) if t is not None else ms.runner.RunnerResult(None, "failed")
            for t in seconds
        ]
        self._context.notify_runner_results(self._batch, results)
        self._model.update(self._context, self._batch, results)
        for candidate, t in zip(self._batch, seconds, strict=True):
            if t is not None:
                self.learn(candidate.sch, t)

    def learn(self, schedule: Schedule, seconds: float) -> None:
        """A schedule that was measured, here or earlier, to breed from."""
        arguments = ms.arg_info.ArgInfo.from_entry_func(self._task.module)
        record = ms.database.TuningRecord(schedule.trace, self._workload, [seconds], self._target, arguments)
        self._database.commit_tuning_record(record)


def _space(task: Task, target: tvm.target.Target) -> ms.space_generator.PostOrderApply:
    """What TVM has for the target, with other steps of unrolling."""
    usual = ms.TuneContext(mod=task.module, target=target, space_generator="post-order-apply").space_generator
    return ms.space_generator.PostOrderApply(
        sch_rules=[_unrolling(rule) for rule in usual.sch_rules],
        postprocs=list(usual.postprocs),
        mutator_probs={mutator: float(share) for mutator, share in usual.mutator_probs.items()},
    )


def _unrolling(rule: ms.schedule_rule.ScheduleRule) -> ms.schedule_rule.ScheduleRule:
    if not isinstance(rule, ms.schedule_rule.ParallelizeVectorizeUnroll):
        return rule
    return ms.schedule_rule.ParallelizeVectorizeUnroll(
        rule.max_jobs_per_core, rule.max_vectorize_extent, list(UNROLLED), rule.unroll_explicit
    )
