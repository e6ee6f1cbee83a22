"""Take the weights out of a module and write them to a file beside the library. Runs in the compiler process.

::

    main(x) { f(x, W) }   ->  main(x, weight_0) { f(x, weight_0) }

Code generation puts constants into the library, and copies them several times on the way. ``TvmLibrary`` reads the file.
Packed weights go out as they are packed: that was done when ``main`` was folded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tamis.targets.links.tvm_library import MAIN

LARGE = 1024
"""Bytes from which on a constant goes into the file."""


@mutator
class _TakeOut(PyExprMutator):  # type: ignore[misc]
    """Puts ``stand_in(constant)`` in the place of each large constant."""

    def __init__(self, module: tvm.IRModule, stand_in: Callable[[relax.Expr], relax.Expr]) -> None:
        super().__init__(module)
        self.stand_in = stand_in

    def visit_generic_const_(self, constant: relax.Expr) -> relax.Expr:
        return self.stand_in(constant) if _bytes(constant) >= LARGE else constant


def write_weights(module: tvm.IRModule, path: Path) -> tvm.IRModule:
    """The module without the large constants of ``main``, which go to the NumPy archive ``path``.

    The entries of the archive are called by their numbers; ``main`` takes them in that order, behind its other arguments.
    """
    function = module[MAIN]
    constants = _large_constants(function)
    arrays: dict[str, Any] = {str(i): np.from_dlpack(c.value) for i, c in enumerate(constants)}
    np.savez(path, **arrays)
    variables = [relax.Var(f"weight_{i}", constant.ty) for i, constant in enumerate(constants)]
    places = {_address(constant): variable for constant, variable in zip(constants, variables, strict=True)}
    body = _TakeOut(module, lambda constant: places[_address(constant)]).visit_expr(function.body)
    found = tvm.IRModule(module.functions, attrs=module.attrs, global_infos=module.global_infos)
    found[module.get_global_var(MAIN)] = relax.Function(
        [*function.params, *variables], body, function.ret_ty, function.is_pure, function.attrs
    )
    return found


def _large_constants(function: relax.Function) -> list[relax.Expr]:
    """Each once, in the order of their use."""
    found: dict[int, relax.Expr] = {}

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, tvm.ir.GenericConst) and _bytes(expression) >= LARGE:
            found.setdefault(_address(expression), expression)

    relax.analysis.post_order_visit(function.body, visit)
    return list(found.values())


def _bytes(constant: relax.Expr) -> int:
    view: np.ndarray[Any, Any] = np.from_dlpack(constant.value)
    return view.nbytes


def _address(constant: relax.Expr) -> int:
    view: np.ndarray[Any, Any] = np.from_dlpack(constant.value)
    return int(view.ctypes.data)
