"""Write padding that follows from sizes as numbers.

::

    ConvTranspose<output_shape = [10, 8]>(x)                     ->  ConvTranspose<pads = [...]>(x)
    MaxPool<auto_pad = "SAME_LOWER", strides = [2, 2]>(x)        ->  MaxPool<pads = [...]>(x)

TVM ignores the output shape of a ConvTranspose, and pads such a MaxPool too little.

*Refuses*: sizes that are not known; an output shape that is larger than what the kernel reaches by a stride or more.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.node_pass import NodePass
from tamis.compiler.rewriting.rewrite_pass import Builder


class Options(PassOptions):
    """Options of ``explicit-pads``."""


class ExplicitPads(NodePass[Options]):
    """Compute the pads of a ConvTranspose with an output shape and of a MaxPool with SAME_LOWER.

    *Match*: these nodes, over a tensor of known sizes.

    *Rewrite*: ``pads`` as ONNX defines them; an odd number of positions in all gives one more at the end for
    SAME_UPPER, and at the beginning otherwise. Positions of the output that the kernel does not reach become
    ``output_padding``.

    *Preserves*: bits.

    *References*: the ONNX operators ConvTranspose and MaxPool; onnxruntime/core/providers/cpu/nn/conv_transpose_attributes.h
    for the side of the odd position.
    """

    name = "explicit-pads"
    stage = Stage.LAYOUT
    contract = Contract.EXACT
    options_type = Options
    op_types = frozenset({"ConvTranspose", "MaxPool"})

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        transposed = node.op_type == "ConvTranspose"
        lower = node.attributes.get_string("auto_pad", "NOTSET") == "SAME_LOWER"
        if "output_shape" not in node.attributes if transposed else not lower:
            return False
        sizes, kernel = _positions(node.inputs[0]), node.attributes.get_ints("kernel_shape", ())
        if not kernel and transposed:
            kernel = _positions(node.inputs[1]) or ()
        if sizes is None or not kernel:
            return "sizes that are not known"
        totals = _transposed(node, sizes, kernel) if transposed else _pooled(node, sizes, kernel)
        if min(totals) < 0:
            missing = [max(-total, 0) for total in totals]
            if not _extend(node, missing):
                return "an output shape larger than what the kernel reaches"
            totals = [max(total, 0) for total in totals]
        upper = node.attributes.get_string("auto_pad", "NOTSET") == "SAME_UPPER"
        begins = [total // 2 if upper else total - total // 2 for total in totals]
        ends = [total - begin for total, begin in zip(totals, begins, strict=True)]
        node.attributes["pads"] = ir.AttrInt64s("pads", [*begins, *ends])
        for name in ("auto_pad", "output_shape"):
            node.attributes.pop(name, None)
        return True


def _extend(node: ir.Node, missing: Sequence[int]) -> bool:
    """Add positions that the kernel does not reach to the end; False if that would be as many as a stride or more."""
    old = _per_axis(node, "output_padding", 0, len(missing))
    new = [a + b for a, b in zip(old, missing, strict=True)]
    if any(n >= s for n, s in zip(new, _per_axis(node, "strides", 1, len(missing)), strict=True)):
        return False
    node.attributes["output_padding"] = ir.AttrInt64s("output_padding", new)
    return True


def _positions(value: ir.Value | None) -> tuple[int, ...] | None:
    """Sizes behind the first two axes."""
    if value is None or value.shape is None:
        return None
    sizes = value.shape[2:]
    return tuple(d for d in sizes if isinstance(d, int)) if all(isinstance(d, int) for d in sizes) else None


def _per_axis(node: ir.Node, name: str, default: int, count: int) -> Sequence[int]:
    return node.attributes.get_ints(name, (default,) * count)


def _transposed(node: ir.Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[int]:
    count = len(kernel)
    wanted = node.attributes["output_shape"].as_ints()[-count:]
    parts = zip(
        sizes,
        kernel,
        _per_axis(node, "strides", 1, count),
        _per_axis(node, "dilations", 1, count),
        _per_axis(node, "output_padding", 0, count),
        wanted,
        strict=True,
    )
    return [s * (n - 1) + extra + (k - 1) * d + 1 - out for n, k, s, d, extra, out in parts]


def _pooled(node: ir.Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[int]:
    count = len(kernel)
    parts = zip(
        sizes, kernel, _per_axis(node, "strides", 1, count), _per_axis(node, "dilations", 1, count), strict=True
    )
    return [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in parts]
