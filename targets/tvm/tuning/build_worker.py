"""What a build worker does: one scheduled function to a shared library. Runs in a worker process."""

from __future__ import annotations

from typing import Any

import tvm
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
from tvm.target import Target

from tamis.targets.tvm.export import ZigLinker
from tamis.targets.tvm.tuning import vector_math

vector_math.register()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Build a function.

    Args:
        request: ``module`` (JSON of a module whose only function is ``main``), ``target`` (see ``machine_target``) and
            ``path`` of the library.

    Returns:
        ``arguments``: dtype and shape of each parameter, as the built function wants it; a schedule that asks for its
        weights in another order gets them in that order.
    """
    module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(tvm.ir.load_json(request["module"]))
    built = tvm.tirx.build(module, target=Target(request["target"]))
    built.export_library(request["path"], fcompile=ZigLinker(request["target"]["mtriple"]))
    return {"arguments": [[str(b.dtype), [int(n) for n in b.shape]] for b in module["main"].params]}
