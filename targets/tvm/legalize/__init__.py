"""Forms that TVM imports right, in the place of those that it does not import or computes wrong.

The order matters. Shapes come first: most passes ask for sizes. Functions are expanded before operators are looked at,
and what the expansion leaves of shape arithmetic is folded. In the end shapes are inferred for what was made.
"""

from __future__ import annotations

from typing import Any

from tamis.compiler.graph_pass import GraphPass
from tamis.targets.tvm.legalize.decompose_rnn import DecomposeRnn
from tamis.targets.tvm.legalize.dequantize_contrib_ops import DequantizeContribOps
from tamis.targets.tvm.legalize.dequantize_integer_ops import DequantizeIntegerOps
from tamis.targets.tvm.legalize.expand_functions import ExpandFunctions
from tamis.targets.tvm.legalize.explicit_pads import ExplicitPads
from tamis.targets.tvm.legalize.fix_shapes import FixShapes
from tamis.targets.tvm.legalize.guard_infinities import GuardInfinities
from tamis.targets.tvm.legalize.index_explicitly import IndexExplicitly
from tamis.targets.tvm.legalize.inline_if import InlineIf
from tamis.targets.tvm.legalize.resize_by_axes import ResizeByAxes
from tamis.targets.tvm.legalize.shuffle_transposed_convs import ShuffleTransposedConvs
from tamis.targets.tvm.legalize.spell_out_norms import SpellOutNorms

LEGALIZATION: tuple[type[GraphPass[Any]], ...] = (
    FixShapes,
    ExpandFunctions,
    FixShapes,
    InlineIf,
    DecomposeRnn,
    DequantizeContribOps,
    DequantizeIntegerOps,
    SpellOutNorms,
    ResizeByAxes,
    IndexExplicitly,
    ExplicitPads,
    ShuffleTransposedConvs,
    GuardInfinities,
    FixShapes,
)
"""In the order in which they run."""
