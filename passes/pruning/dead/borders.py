"""Where the padding of a convolution meets its weights.

A channel that is the constant c adds ``c * sum of its taps`` to each output, but at a border that reads padding: there it
adds less. That is so for no output if the taps that the padding meets are zero.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.dead.fact import Array


def is_padded(node: ir.Node) -> bool:
    """Whether a Conv may read padding."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    return mode.startswith("SAME") or any(node.attributes.get_ints("pads", []))


def padded_taps(node: ir.Node, kernel: tuple[int, ...]) -> Array:
    """Which taps read padding at some output.

    Args:
        node: A Conv.
        kernel: Sizes of its kernel.

    Returns:
        ``kernel``, bool; where sizes are not known, each tap may.
    """
    x = node.inputs[0]
    sizes = None if x is None or x.shape is None else x.shape[2:]
    found = np.zeros(kernel, bool)
    rank = len(kernel)
    if not is_padded(node):
        return found
    pads = node.attributes.get_ints("pads", [0] * (2 * rank))
    strides = node.attributes.get_ints("strides", [1] * rank)
    dilations = node.attributes.get_ints("dilations", [1] * rank)
    if sizes is None or node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return ~found
    for axis, (size, taps, stride, step) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        before, after = pads[axis], pads[rank + axis]
        if not isinstance(size, int):
            found |= bool(before or after)
            continue
        outputs = (size + before + after - (taps - 1) * step - 1) // stride + 1
        first = np.arange(taps) * step - before
        outside = (first < 0) | (first + (outputs - 1) * stride >= size)
        found |= outside.reshape([-1 if i == axis else 1 for i in range(rank)])
    return found
