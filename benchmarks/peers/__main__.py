"""``make bench-peers``: every model under ONNX Runtime's own best, tamis, and other optimizers, in one run.

Prints for each model and number of threads how many times faster each is than the untouched model under
``ORT_ENABLE_ALL`` (paired, several loads, 95 % interval), and the geometric means. A result that differs from the
untouched model by more than 1e-3 (normwise) is marked ``wrong``; an optimizer that fails is marked with its error.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import tamis
from benchmarks.light_models import names as light_names
from benchmarks.light_models import write_light_model
from benchmarks.peers.optimizers import OPTIMIZERS, Optimizer
from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.fetch import FetchError
from benchmarks.zoo.folder import build
from tamis.compiler.cli.output import table
from tamis.compiler.compare_outputs import relative_error
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.model_file import load_model
from tamis.compiler.prepare import prepare
from tamis.compiler.recipe_file import load_recipe

Feeds = dict[str, np.ndarray[Any, Any]]
Call = Callable[[], list[np.ndarray[Any, Any]]]
WRONG = 1e-3


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("names", nargs="*", help="models (default: the zoo and the light_* topologies)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, without loading")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.names or [*MODULES, *light_names()]:
            try:
                model, recipe = _source(name, Path(scratch))
            except FetchError as error:
                print(f"{name}: not there: {error}", flush=True)
                continue
            for threads in arguments.threads:
                row = _row(model, recipe, Path(scratch) / f"{name}-{threads}", threads, arguments.seconds)
                found.append({"model": name, "threads": threads, "results": row})
                print(name, threads, {k: _cell(v) for k, v in row.items()}, flush=True)
    _report(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _source(name: str, scratch: Path) -> tuple[Path, Path | str]:
    """The model, and the recipe that compiles it."""
    if name in MODULES:
        folder = build(entry(name))
        return folder / "model.onnx", folder / "recipe.yaml"
    path = scratch / f"{name}.onnx"
    write_light_model(name, path)
    return path, "lossless"


def _row(model: Path, recipe: Path | str, scratch: Path, threads: int, seconds: float) -> dict[str, Any]:
    scratch.mkdir()
    feeds = _feeds(model, recipe)
    want = _onnxruntime(model, threads)(feeds)

    def measured(load: Callable[[], Call]) -> dict[str, Any]:
        needed = max(relative_error(w, g) for w, g in zip(want, load()(), strict=True))
        base = partial(_onnxruntime, model, threads)
        ratio = compare_loads(lambda: partial(base(), feeds), load, seconds=seconds)
        return {**ratio.summary(), "wrong": bool(not needed <= WRONG), "needed": needed}

    row: dict[str, Any] = {"tamis": measured(_tamis(model, recipe, scratch / "bundle", threads, feeds))}
    shapes = {k: list(v.shape) for k, v in feeds.items()}
    for peer, optimize in OPTIMIZERS.items():
        row[peer] = _attempt(
            partial(_peer, optimize, model, scratch / f"{peer}.onnx", shapes, threads, feeds), measured
        )
    row["openvino"] = _attempt(lambda: lambda: partial(_openvino(model, shapes, threads), feeds), measured)
    return row


def _attempt(prepare: Callable[[], Callable[[], Call]], measured: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """What is measured, or why the peer failed: that is a result, too."""
    try:
        return measured(prepare())
    except Exception as error:  # noqa: BLE001
        reason = (str(error).strip().splitlines() or [""])[0]
        return {"error": f"{type(error).__name__}: {reason[:60]}"}


def _peer(
    optimize: Optimizer, model: Path, result: Path, shapes: dict[str, list[int]], threads: int, feeds: Feeds
) -> Callable[[], Call]:
    optimize(model, result, shapes)
    return lambda: partial(_onnxruntime(result, threads), feeds)


def _feeds(model: Path, recipe: Path | str) -> Feeds:
    """The first sample that tamis itself measures with."""
    source = load_recipe(recipe) if isinstance(recipe, Path) else load_recipe("lossless", sets={"model": str(model)})
    return dict(prepare(source).samples(1)[0])


def _onnxruntime(model: Path, threads: int) -> Callable[[Feeds], list[np.ndarray[Any, Any]]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None)


def _tamis(model: Path, recipe: Path | str, out: Path, threads: int, feeds: Feeds) -> Callable[[], Call]:
    """The compiled model, run as those of the peers are: what is compared is the models."""
    target = [{"machine": "host", "options": {"threads": threads}}]
    if isinstance(recipe, Path):
        tamis.compile(recipe=recipe, out=out, set={"targets": target}, force=True)
    else:
        tamis.compile(model, recipe, out=out, set={"targets": target}, force=True)
    return lambda: partial(_onnxruntime(out / "model.onnx", threads), feeds)


def _openvino(model: Path, shapes: dict[str, list[int]], threads: int) -> Callable[[Feeds], list[np.ndarray[Any, Any]]]:
    import openvino

    core = openvino.Core()
    read = core.read_model(model)
    read.reshape(shapes)
    compiled = core.compile_model(
        read,
        "CPU",
        {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"},
    )
    names = [v.name for v in load_model(model).graph.outputs]
    request = compiled.create_infer_request()

    def run(feeds: Feeds) -> list[np.ndarray[Any, Any]]:
        outputs = request.infer(feeds, share_inputs=True, share_outputs=True)
        return [outputs[name] for name in names]

    return run


def _cell(result: dict[str, Any]) -> str:
    if "error" in result:
        return str(result["error"])
    wrong = " wrong" if result["wrong"] else ""
    return f"{result['speedup']:.3f} ({result['low']:.3f} to {result['high']:.3f}){wrong}"


def _report(found: list[dict[str, Any]]) -> None:
    columns = ["tamis", *OPTIMIZERS, "openvino"]
    for threads in sorted({row["threads"] for row in found}):
        rows = [row for row in found if row["threads"] == threads]
        lines = [(row["model"], *(_cell(row["results"][c]) for c in columns)) for row in rows]
        means = []
        for column in columns:
            ratios = [r["speedup"] for row in rows if "speedup" in (r := row["results"][column]) and not r["wrong"]]
            means.append(f"{np.exp(np.mean(np.log(ratios))):.3f} over {len(ratios)}" if ratios else "")
        table(("model", *columns), [*lines, ("geometric mean", *means)], title=f"{threads} threads, times faster")


if __name__ == "__main__":
    main()
