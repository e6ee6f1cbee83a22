"""What people should know of how TVM compiled a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir


def lowering_notes(model: ir.Model, built: Mapping[str, Any]) -> tuple[str, ...]:
    """A clause each.

    Args:
        model: As it was compiled.
        built: The result of the command ``build``.
    """
    notes = []
    if schedules := built.get("schedules"):
        counts = [f"{count} {_MEANING[kind]}" for kind, count in schedules.items() if count]
        notes.append(f"schedules: {', '.join(counts)}")
    if kernels := built.get("kernels"):
        notes.append(f"{len(kernels)} GPU kernels, default schedules")
    pairs = sum(node.op_type == "DequantizeLinear" for node in model.graph.all_nodes())
    if pairs:
        products = built.get("integer_products", 0)
        integers = f"{products} products in 8-bit integers, what else" if products else "what"
        notes.append(f"{integers} {pairs} DequantizeLinear nodes give is computed with in float")
    return tuple(notes)


_MEANING = {
    "tuned": "tuned",
    "default": "default",
    "unfit": "default, since the known ones do not fit",
    "left": "fixed",
}
