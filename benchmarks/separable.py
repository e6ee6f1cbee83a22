"""Why 8.4 times fewer MACs are not 8.4 times less time: the textbook's depthwise-separable convolution, measured.

A dense 3x3 convolution of 64 to 128 channels on 112x112, and the same shape by a 3x3 depthwise convolution and a
pointwise one. Both models are loaded anew in each of several rounds, in alternating order, and each kernel's time is
taken by the runtime's profiler; ratios are taken inside a round, and quoted with Student's 95 % interval over the
rounds. The ratio of whole calls, with what changes the layout of input and output, comes from ``compare_loads``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.analyse import under_roofline
from tamis.compiler.analysis.roofline import Roofline
from tamis.compiler.analysis.rows import Row
from tamis.compiler.cli.output import table
from tamis.compiler.machine import find_machine
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.paired_ratio import Ratio, mean_ratio
from tamis.compiler.registry import REFERENCE_RUNTIME, runtime_class
from tamis.compiler.tuning_database import TuningDatabase

CHANNELS, FILTERS, SIZE = 64, 128, 112
ROUNDS = 6
SECONDS = 0.5
"""Of profiling one model in one round."""
CALL_SECONDS = 5.0
DENSE = "[dense] d = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, D)"
SEPARABLE = f"""[depthwise] h = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = {CHANNELS}>(x, H)
    [pointwise] d = Conv<kernel_shape = [1, 1]>(h, P)"""
WEIGHTS = {"D": (FILTERS, CHANNELS, 3, 3), "H": (CHANNELS, 1, 3, 3), "P": (FILTERS, CHANNELS, 1, 1)}


def build(body: str) -> ir.Model:
    """A model of ``body`` with an average over the image behind it, so that the output is small."""
    random = np.random.default_rng(0)
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, {CHANNELS}, {SIZE}, {SIZE}] x, {", ".join(f"float{list(s)} {n}" for n, s in WEIGHTS.items())})
        => (float[1, {FILTERS}, 1, 1] y)
    <float[1, {CHANNELS}, {SIZE}, {SIZE}] h, float[1, {FILTERS}, {SIZE}, {SIZE}] d> {{
    {body}
    [average] y = GlobalAveragePool(d)
    }}"""
    model = ir.from_onnx_text(text)
    for value in list(model.graph.inputs)[1:]:
        model.graph.inputs.remove(value)
        if value.uses():
            shape = WEIGHTS[str(value.name)]
            weight = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
            value.const_value = ir.tensor(weight.astype(np.float32), name=value.name)
            model.graph.register_initializer(value)
    return model


def main() -> None:
    """Print the ratios of MACs and of time, and what each kernel reaches."""
    machine = find_machine("host")
    cls = runtime_class(REFERENCE_RUNTIME)
    runtime = cls(cls.options_type.model_validate({"threads": 1}))
    models = {"dense": build(DENSE), "separable": build(SEPARABLE)}
    feeds = {"x": np.random.default_rng(1).standard_normal((1, CHANNELS, SIZE, SIZE)).astype(np.float32)}
    rounds: list[dict[str, Row]] = [{} for _ in range(ROUNDS)]
    with TuningDatabase() as database:
        for i, rows in enumerate(rounds):
            for name in sorted(models, reverse=bool(i % 2)):
                times = runtime.profile(models[name], feeds, machine, SECONDS, lambda fraction, note: None)
                found, ceilings = under_roofline(models[name], times, runtime, machine, database)
                rows |= {row.name: row for row in found}
    _print_kernels(rounds, ceilings)
    call = compare_loads(
        *(partial(lambda m: partial(runtime.load_model(m), feeds), models[name]) for name in ("dense", "separable")),
        seconds=CALL_SECONDS,
    )
    macs = {name: row.cost.macs or 0 for name, row in rounds[0].items()}
    both = macs["depthwise"] + macs["pointwise"]
    print(f"MACs: dense {macs['dense']:,}, separable {both:,}: {macs['dense'] / both:.2f} times fewer")
    kernels = mean_ratio([_ns(r, "dense") / (_ns(r, "depthwise") + _ns(r, "pointwise")) for r in rounds])
    print(f"time of the kernels alone: {_interval(kernels)} times less")
    print(f"time of a whole call: {_interval((call.speedup, call.low, call.high))} times less")


def _print_kernels(rounds: list[dict[str, Row]], ceilings: Roofline) -> None:
    table(
        ("kernel", "MACs", "bytes", "MACs/byte", "rate over the dense one's", "time over the roofline's", "bound"),
        [
            (
                name,
                f"{(row := rounds[0][name]).cost.macs:,}",
                f"{row.cost.moved:,}",
                f"{row.intensity or 0:.1f}",
                _interval(mean_ratio([(r[name].rate or 0) / (r["dense"].rate or 1) for r in rounds])),
                _interval(_over(r[name] for r in rounds)),
                row.bound,
            )
            for name in ("dense", "pointwise", "depthwise")
        ],
        title=f"one thread; peak {ceilings.peak / 1e9:.0f} GMAC/s",
    )


def _over(rows: Iterable[Row]) -> Ratio:
    return mean_ratio([(row.nanoseconds or 0.0) / (row.attainable or 1.0) for row in rows])


def _ns(rows: dict[str, Row], name: str) -> float:
    return rows[name].nanoseconds or 0.0


def _interval(ratio: Ratio) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*ratio)


if __name__ == "__main__":
    main()
