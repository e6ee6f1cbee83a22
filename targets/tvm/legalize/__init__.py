"""Forms that TVM imports right, in the place of those that it does not import or computes wrong."""

from __future__ import annotations

from typing import Any

from tamis.compiler.graph_pass import GraphPass
from tamis.targets.tvm.legalize.decompose_rnn import DecomposeRnn
from tamis.targets.tvm.legalize.fix_shapes import FixShapes

LEGALIZATION: tuple[type[GraphPass[Any]], ...] = (
    FixShapes,
    DecomposeRnn,
    FixShapes,
)
