"""What a smaller model saves: bytes of its constants, multiply-accumulate operations of one run."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from tamis.compiler.analysis.macs import macs_of
from tamis.compiler.analysis.tensor_size import nbytes


@dataclass(frozen=True)
class Size:
    """Of one model.

    Args:
        nbytes: Of the constants of the main graph.
        macs: Of the nodes of the main graph whose sizes are known.
    """

    nbytes: int
    macs: int

    def saved(self, after: Size) -> dict[str, int]:
        """What is less afterwards, as counts of a pass; what is not less is left out."""
        found = {"bytes saved": self.nbytes - after.nbytes, "MACs saved": self.macs - after.macs}
        return {name: count for name, count in found.items() if count > 0}


def size_of(model: ir.Model) -> Size:
    """Sizes of a model with inferred shapes."""
    constants = (nbytes(value) or 0 for value in model.graph.initializers.values())
    return Size(sum(constants), sum(macs_of(node) or 0 for node in model.graph))
