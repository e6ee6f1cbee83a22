"""Time of each kernel, by ONNX Runtime's own profiler.

The profiler writes one event a kernel and run, with its time in whole microseconds. ONNX Runtime also writes the graph
that it made of the model, which tells what each kernel computes. Both go into a temporary folder.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.alone import alone
from tamis.compiler.errors import RuntimeFailureError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.target import NodeTime
from tamis.targets.onnxruntime.optimized_graph import SHAPERS, Kernel, kernels_of
from tamis.targets.onnxruntime.session import SessionRunner

OPTIMIZED = "optimized.onnx"
WARM_UP_RUNS = 2
FEWEST_RUNS = 5
MAX_EVENTS = 100_000
"""Beyond so many events no further run is begun: each takes 600 bytes in the file, and the profiler stops at a million."""
SUFFIX = "_kernel_time"
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
LAYOUT_CHANGE = "layout change"
HALF_MICROSECOND = 500.0
"""The profiler cuts times to whole microseconds; on average, half of one is lost."""

Event = dict[str, Any]


def profile_session(
    load: Callable[[Callable[[Any], None]], SessionRunner],
    model: ir.Model,
    feeds: Feeds,
    seconds: float,
    progress: Callable[[float, str], None],
) -> list[NodeTime]:
    """Time each kernel; see ``Runtime.profile``. The time of a kernel is the mean over the middle half of the runs.

    Args:
        load: Makes a session, after the given function has changed its options.
        model: The model that it opens, with unique names of nodes.
        feeds: What to run.
        seconds: How long to run for; at least five runs are made.
        progress: Gets the fraction done.

    Raises:
        LoweringError: ONNX Runtime refuses the model.
        RuntimeFailureError: A node failed, or a run has more nodes than the profiler can keep.
    """
    with tempfile.TemporaryDirectory(prefix="tamis-profile-") as name:
        folder = Path(name)
        runner = load(lambda options: _configure(options, folder))
        optimized = ir.load(folder / OPTIMIZED)
        _run(runner, feeds, seconds, len(optimized.graph), progress)
        events = json.loads(Path(runner.end_profiling()).read_text(encoding="utf-8"))
    nodes = list(optimized.graph)
    times = times_of(events, nodes)
    return [_node_time(kernel, nodes, times) for kernel in kernels_of(model, optimized)]


def _configure(options: Any, folder: Path) -> None:
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.optimized_model_filepath = str(folder / OPTIMIZED)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")


def _run(
    runner: SessionRunner, feeds: Feeds, seconds: float, nodes: int, progress: Callable[[float, str], None]
) -> None:
    most = max(FEWEST_RUNS, MAX_EVENTS // max(nodes, 1))
    with alone(progress):
        for _ in range(WARM_UP_RUNS):
            runner(feeds)
        begun, runs = time.perf_counter(), 0
        while runs < FEWEST_RUNS or (time.perf_counter() - begun < seconds and runs < most):
            runner(feeds)
            runs += 1
            progress(min(1.0, (time.perf_counter() - begun) / seconds), "")


def times_of(events: Sequence[Event], nodes: Sequence[ir.Node]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Nanoseconds of each node of the main graph.

    Args:
        events: What the profiler wrote.
        nodes: Of the optimized graph.

    Raises:
        RuntimeFailureError: No run is recorded from end to end.
    """
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")
    runs: list[list[Event]] = [[] for _ in starts]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(SUFFIX):
            run = int(np.searchsorted(starts, event["ts"], side="right")) - 1
            if run >= 0:
                runs[run].append(event)
    whole = [times for run in runs[WARM_UP_RUNS:] if (times := _run_times(run, nodes)) is not None]
    if not whole:
        raise RuntimeFailureError(
            "no run was recorded from end to end",
            where="onnxruntime's profiler",
            expected=f"{len(nodes)} kernels a run",
            fix="use smaller inputs, or a model with fewer iterations",
        )
    ranked = np.sort(np.asarray(whole, np.float64), axis=0)
    quarter = len(ranked) // 4
    middle: np.ndarray[Any, np.dtype[np.float64]] = ranked[quarter : len(ranked) - quarter].mean(axis=0)
    return middle * 1000 + HALF_MICROSECOND


def _run_times(events: list[Event], nodes: Sequence[ir.Node]) -> list[int] | None:
    """Microseconds of each node in one run; None if one is missing. Nodes inside others are part of those."""
    waiting: dict[tuple[str, str], deque[int]] = defaultdict(deque)
    for i, node in enumerate(nodes):
        waiting[node.name or "", node.op_type].append(i)
    times = [-1] * len(nodes)
    end = -1
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        if event["ts"] < end:
            continue
        op_type = event["args"]["op_name"]
        queue = waiting.get((event["name"].removesuffix(SUFFIX), op_type)) or waiting.get(("", op_type))
        if queue:
            times[queue.popleft()] = event["dur"]
            if op_type in CONTROL_FLOW:
                end = event["ts"] + event["dur"]
    return None if -1 in times else times


def _node_time(kernel: Kernel, nodes: Sequence[ir.Node], times: np.ndarray[Any, np.dtype[np.float64]]) -> NodeTime:
    op_types = [nodes[i].op_type for i in kernel.nodes]
    shapes_only = all(op_type in SHAPERS for op_type in op_types)
    op_type = LAYOUT_CHANGE if shapes_only and not kernel.covers else op_types[-1]
    return NodeTime(op_type, float(times[list(kernel.nodes)].sum()), kernel.covers)
