"""Why channels go in multiples: the time of a convolution by its number of channels, measured.

``python -m benchmarks.pruning.multiples [--channels 32 31 24 17 16] [--threads 1]``

The convolution (3x3, its channels in and out) stands between two pointwise ones of 64 channels, so that nothing but its
width changes, and layouts change where they do in a real network. Ratios are over the widest one, in pairs over several
loads, with a 95 % interval; the two pointwise ones take their part of the whole call.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import onnx
import onnx_ir as ir

from tamis.compiler.cli.output import table
from tamis.compiler.machine import find_machine
from tamis.compiler.measure_loads import compare_loads
from tamis.compiler.registry import REFERENCE_RUNTIME, runtime_class

CHANNELS = (32, 31, 24, 17, 16)
OUTER, SIZE = 64, 56


def build(channels: int) -> ir.Model:
    """A convolution of so many channels in its sandwich, with an average over the image behind it."""
    random = np.random.default_rng(0)
    shapes = {"A": (channels, OUTER, 1, 1), "W": (channels, channels, 3, 3), "B": (OUTER, channels, 1, 1)}
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, {OUTER}, {SIZE}, {SIZE}] x) => (float[1, {OUTER}, 1, 1] y) {{
    a = Conv<kernel_shape = [1, 1]>(x, A)
    b = Relu(a)
    c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(b, W)
    d = Relu(c)
    e = Conv<kernel_shape = [1, 1]>(d, B)
    y = GlobalAveragePool(e)
    }}"""
    proto = onnx.parser.parse_model(text)
    for name, shape in shapes.items():
        weight = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(np.float32), name))
    return ir.from_proto(proto)


def macs(channels: int) -> int:
    """Of the three convolutions."""
    return SIZE * SIZE * channels * (2 * OUTER + 9 * channels)


def main() -> None:
    """Print MACs and time of each number of channels, over the first one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning.multiples", description=__doc__)
    parser.add_argument(
        "--channels", nargs="+", type=int, default=list(CHANNELS), help="the first is what the others refer to"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, without loading")
    arguments = parser.parse_args()
    cls = runtime_class(REFERENCE_RUNTIME)
    runtime = cls(cls.options_type.model_validate({"threads": arguments.threads}))
    feeds = {"x": np.random.default_rng(1).standard_normal((1, OUTER, SIZE, SIZE)).astype(np.float32)}
    first, *others = arguments.channels
    rows = [(first, "1.00", "1.00")]
    for channels in others:
        pair = (partial(lambda m: partial(runtime.load_model(m), feeds), build(n)) for n in (first, channels))
        found = compare_loads(*pair, seconds=arguments.seconds)
        time = f"{1 / found.speedup:.2f} ({1 / found.high:.2f} to {1 / found.low:.2f})"
        rows.append((channels, f"{macs(channels) / macs(first):.2f}", time))
    multiple = runtime.channel_multiple(find_machine("host"))
    table(("channels", "MACs", "time"), rows, title=f"over {first}; multiples of {multiple} are fast")


if __name__ == "__main__":
    main()
