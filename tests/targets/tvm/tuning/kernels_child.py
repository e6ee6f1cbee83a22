"""A compiler process that answers what tests ask about kernels."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, topi
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Schedule

from tamis.targets.links.tvm_library import PACK_WEIGHTS
from tamis.targets.tvm import child_main
from tamis.targets.tvm.importing import import_model
from tamis.targets.tvm.pipeline import FRONT, PREPACK, run_phases
from tamis.targets.tvm.settings import Settings
from tamis.targets.tvm.tuning import build_worker, measure_worker, vector_math
from tamis.targets.tvm.tuning.apply_schedules import apply_schedules
from tamis.targets.tvm.tuning.default_schedule import candidate_schedules
from tamis.targets.tvm.tuning.evolution import Evolution
from tamis.targets.tvm.tuning.measure_worker import cold_turns, fill
from tamis.targets.tvm.tuning.records import apply_trace, trace_json
from tamis.targets.tvm.tuning.tasks import Task, extract_tasks, narrowed

Arguments = dict[str, Any]


def candidates(arguments: Arguments, report: Any) -> dict[str, Any]:
    """The ``first`` schedules of ours for each kernel of a model, against the kernel as it is.

    Returns:
        For each kernel how many schedules there are, the largest difference relative to the largest result, and
        whether the traces, as JSON, give the same kernels again, and whether the first schedule is vectorized.
    """
    target = tvm.target.Target(arguments["target"])
    settings = Settings(threads=2, layout=arguments.get("layout", "nchw"), prepack=False)
    module = run_phases(import_model(Path(arguments["model"]), report), FRONT, target, settings, report)
    found: dict[str, Any] = {}
    for task in extract_tasks(module):
        wanted = _run(task.module, target)
        schedules = list(islice(candidate_schedules(task.module, target), arguments["first"]))
        errors = [_difference(_run(narrowed(s.mod), target), wanted) for s in schedules]
        again = [apply_trace(task.module, trace_json(s)) for s in schedules]
        same = all(
            a is not None and tvm_ffi.structural_equal(a.mod, s.mod) for a, s in zip(again, schedules, strict=True)
        )
        found[" ".join(task.operators)] = {
            "schedules": len(schedules),
            "error": max(errors, default=0.0),
            "same": same,
            "vectorized": bool(schedules) and "T.vectorized(" in schedules[0].mod.script(),
        }
    return found


def whole(arguments: Arguments, report: Any) -> dict[str, Any]:
    """A model of one output by default schedules, its weights in the order that they read.

    Returns:
        ``y`` for the input ``x``, both as hexadecimal bytes; ``fetches``, how many loads ahead the kernels have; and
        ``shapes`` of all parameters of the kernels before they are scheduled.
    """
    target = tvm.target.Target(arguments["target"])
    settings = Settings(threads=2, layout=arguments.get("layout", "nchw"))
    module = run_phases(import_model(Path(arguments["model"]), report), FRONT, target, settings, report)
    shapes = [[int(n) for n in p.shape] for t in extract_tasks(module) for p in t.module["main"].params]
    module, _ = apply_schedules(module, target, {})
    fetches = module.script().count("llvm.prefetch")
    module = run_phases(module, (PREPACK,), target, settings, report)
    machine = relax.VirtualMachine(relax.build(module, target), tvm.cpu())
    names = [str(v.name_hint) for v in module.get_global_vars()]
    weights = machine[PACK_WEIGHTS]([]) if PACK_WEIGHTS in names else ()
    x = np.frombuffer(bytes.fromhex(arguments["x"]), np.float32).reshape(arguments["shape"])
    result = machine["main"](tvm.runtime.tensor(x), *weights).numpy()
    return {"y": result.tobytes().hex(), "fetches": fetches, "shapes": shapes}


def evolved(arguments: Arguments, report: Any) -> dict[str, Any]:
    """Up to how many steps TVM's candidates for a product of two matrices are unrolled, and how many different ones there are.

    Half of them were measured before the others were asked for.
    """
    given = [tvm.te.placeholder((96, 96), "float32", name=name) for name in ("x", "w")]
    module = tvm.IRModule({"main": tvm.te.create_prim_func([*given, topi.matmul(*given)])})
    target = tvm.target.Target(arguments["target"])
    task = Task("", "main", ("matmul",), module, 1, 0.0)
    source = Evolution(task, target, ms.cost_model.RandomModel(seed=1), 1, 1)
    first = source.propose(arguments["count"])
    source.tell([1e-6 * (i + 1) for i in range(len(first))])
    scripts = {s.mod.script() for s in (*first, *source.propose(arguments["count"]))}
    steps = {
        int(n) for text in scripts for n in re.findall(r'"pragma_auto_unroll_max_step": (?:T.int\d+\()?(\d+)', text)
    }
    return {"steps": sorted(steps), "candidates": len(scripts)}


def turns(arguments: Arguments, report: Any) -> dict[str, Any]:
    """How many different arrays a kernel's parameters are in all turns of a measurement with cold weights."""
    arrays = [fill(i, "float32", shape, False) for i, shape in enumerate(arguments["shapes"])]
    given = [tvm.runtime.tensor(array) for array in arrays]
    found = cold_turns(given, arrays, arguments["constant"])
    return {"turns": len(found), "arrays": [len({id(turn[i]) for turn in found}) for i in range(len(arrays))]}


def measured(arguments: Arguments, report: Any) -> dict[str, Any]:
    """Times of a product of two matrices, by itself, beside itself as the best one, and beside one of four times as many rows.

    The best one is said to take a second.
    """
    folder, target = Path(arguments["folder"]), tvm.target.Target(arguments["target"])
    built = []
    for rows in (64, 256):
        given = [tvm.te.placeholder(s, "float32", name=n) for n, s in (("x", (rows, 256)), ("w", (256, 256)))]
        module = tvm.IRModule({"main": tvm.te.create_prim_func([*given, topi.matmul(*given)])})
        request = {"module": tvm.ir.save_json(narrowed(next(candidate_schedules(module, target)).mod))}
        request |= {"target": arguments["target"], "path": str(folder / f"{rows}.so")}
        built.append((request["path"], build_worker.answer(request)["arguments"]))
    (path, shapes), large = built
    common = {"constant": [1], "milliseconds": 5.0, "cold": arguments["cold"], "reference": str(folder / "y.npz")}
    common |= {"path": path, "arguments": shapes, "best_us": None}
    return {
        "alone": measure_worker.answer({**common, "best": None}),
        "itself": measure_worker.answer({**common, "best": (path, shapes), "best_us": 1e6}),
        "larger": measure_worker.answer({**common, "best": large, "best_us": 1e6}),
        "loaded": list(measure_worker._best),
    }


def row_sums(arguments: Arguments, report: Any) -> dict[str, Any]:
    """The default schedule's sum of a row of floats, given and returned as hexadecimal bytes."""
    x = np.frombuffer(bytes.fromhex(arguments["x"]), np.float32).reshape(1, -1)
    given = tvm.te.placeholder(x.shape, "float32", name="x")
    module = tvm.IRModule({"main": tvm.te.create_prim_func([given, topi.sum(given, axis=1)])})
    target = tvm.target.Target(arguments["target"])
    (result,) = _run(next(candidate_schedules(module, target)).mod, target, x)
    return {"sum": result.astype(np.float32).tobytes().hex()}


def functions(arguments: Arguments, report: Any) -> dict[str, Any]:
    """exp, tanh and erf of some numbers, as 64-bit patterns of what a vectorized kernel computes."""
    vector_math.register()
    x = np.frombuffer(bytes.fromhex(arguments["x"]), arguments["dtype"])
    size = len(x)
    found = {}
    for name in ("exp", "tanh", "erf"):
        given = tvm.te.placeholder((size,), arguments["dtype"], name="x")
        function: Callable[[Any], Any] = getattr(topi, name)
        module = tvm.IRModule({"main": tvm.te.create_prim_func([given, function(given)])})
        schedule = Schedule(module)
        (block,) = schedule.get_child_blocks(schedule.get_sblock("root"))
        _, lanes = schedule.split(schedule.get_loops(block)[0], [None, 8])
        schedule.vectorize(lanes)
        (result,) = _run(schedule.mod, tvm.target.Target(arguments["target"]), x)
        found[name] = result.astype(x.dtype).tobytes().hex()
    return found


def transpositions(arguments: Arguments, report: Any) -> dict[str, Any]:
    """How many transpositions of 4 dimensions the front passes leave in a model."""
    target = tvm.target.Target(arguments["target"])
    settings = Settings(threads=2, layout=arguments["layout"], prepack=False)
    phases = [p for p in FRONT if p.name in ("simplify", "convert layout")]
    module = run_phases(import_model(Path(arguments["model"]), report), tuple(phases), target, settings, report)
    names: list[str] = []
    relax.analysis.post_order_visit(
        module["main"], lambda node: names.append(str(getattr(getattr(node, "op", None), "name", "")))
    )
    return {name: names.count(f"relax.{name}") for name in ("permute_dims", "isnan", "reshape", "clip")}


def _run(module: tvm.IRModule, target: Any, *first: np.ndarray) -> list[np.ndarray]:
    arrays = [fill(i, str(b.dtype), [int(n) for n in b.shape], False) for i, b in enumerate(module["main"].params)]
    arrays[: len(first)] = first
    arguments = [tvm.runtime.tensor(np.array(a)) for a in arrays]
    tvm.tirx.build(module, target=target)["main"](*arguments)
    after = [a.numpy() for a in arguments]
    return [a for a, b in zip(after, arrays, strict=True) if a.tobytes() != b.tobytes()]


def _difference(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    if [f.shape for f in found] != [w.shape for w in wanted]:
        return float("inf")
    return max(
        (
            float(np.abs(f.astype("f8") - w.astype("f8")).max() / np.abs(w.astype("f8")).max())
            for f, w in zip(found, wanted, strict=True)
        ),
        default=float("inf"),
    )


child_main.COMMANDS |= {
    f.__name__: f"tests.targets.tvm.tuning.kernels_child:{f.__name__}"
    for f in (candidates, evolved, functions, measured, row_sums, transpositions, turns, whole)
}

if __name__ == "__main__":
    child_main.main()
