"""Write a transposed convolution whose windows do not overlap as a pointwise one.

::

    ConvTranspose<strides = [2, 2]>(x, w)   ->  DepthToSpace<2, CRD>(Conv(x, w'))     (w of 2x2 positions)

TVM computes a ConvTranspose over the input with zeros between its elements, four times the work for strides of 2; and with
channels first only.

*Refuses*: nothing; other transposed convolutions are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.node_pass import NodePass, replace
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.quantized_values import input_at

CRD = 11
"""The opset that brought this order of DepthToSpace."""


class Options(PassOptions):
    """Options of ``shuffle-transposed-convs``."""


class ShuffleTransposedConvs(NodePass[Options]):
    """Write a ConvTranspose whose windows do not overlap as a pointwise Conv and a DepthToSpace.

    *Match*: a two-dimensional ConvTranspose with constant weights and bias, one group, square windows as wide as the strides,
    and neither padding nor dilation.

    *Rewrite*: each position of the window becomes an output channel of the Conv; DepthToSpace puts it into its place.

    *Preserves*: the function up to the order of sums.

    *References*: Shi et al., Is the deconvolution layer the same as a convolutional layer?, arXiv:1609.07009, 2016.
    """

    name = "shuffle-transposed-convs"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options
    op_types = frozenset({"ConvTranspose"})
    min_opset = CRD

    def simplify(self, node: ir.Node, build: Builder) -> bool | str:
        weights, bias = constant_array(node.inputs[1]), input_at(node, 2)
        offsets = None if bias is None else constant_array(bias)
        if weights is None or weights.ndim != 4 or (bias is not None and offsets is None):
            return False
        inputs, outputs, height, width = weights.shape
        if height != width or not _apart(node, height):
            return False
        pointwise = weights.reshape(inputs, outputs * height * width).T[:, :, None, None]
        operands = [np.ascontiguousarray(pointwise)]
        if offsets is not None:
            operands.append(np.repeat(offsets, height * width))
        wide = build.op("Conv", node.inputs[0], *operands, kernel_shape=[1, 1])
        replace(node, build.op("DepthToSpace", wide, blocksize=height, mode="CRD"), build)
        return True


def _apart(node: ir.Node, size: int) -> bool:
    """Whether each element of the output comes from one of the input."""
    attributes = node.attributes

    def are(name: str, value: int, default: int) -> bool:
        found: Sequence[int] = attributes.get_ints(name, (default,))
        return all(n == value for n in found)

    return (
        size > 1
        and are("strides", size, 1)
        and are("pads", 0, 0)
        and are("dilations", 1, 1)
        and are("output_padding", 0, 0)
        and attributes.get_int("group", 1) == 1
        and attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and "output_shape" not in attributes
    )
