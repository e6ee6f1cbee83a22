"""Make one Gelu, or the spelling that runtimes know, of GELU's spelled-out forms.

::

    x * 0.5 * (1 + erf(x / sqrt(2)))                              ->  Gelu(x)
    0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))    ->  Gelu<approximate="tanh">(x)

in any order of the products and sums, with quotients or products, powers or products. Gelu is an operator from opset 20
on; below, every form becomes one that ONNX Runtime fuses.

*Refuses*: factors that are not those of GELU; constants of several elements, or of a higher rank than x; element types
other than float32, for which runtimes have no kernel; an intermediate value that something else reads. ``x *
sigmoid(1.702 x)`` is another function.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, PassOptions, Stage
from tamis.compiler.rewriting.graph_edit import sole_user
from tamis.compiler.rewriting.pattern import Const, Match, Op, match
from tamis.compiler.rewriting.rewrite_pass import GRAPH_OUTPUT, OTHER_READERS, Builder, RewritePass
from tamis.passes.fusion.polynomial import Expansion, Terms, expand, operands

ROOT, SLOPE, CUBIC = math.sqrt(2), math.sqrt(2 / math.pi), 0.044715
INSIDE: dict[str, Terms] = {"Erf": {(1,): 1 / ROOT}, "Tanh": {(1,): SLOPE, (3,): SLOPE * CUBIC}}
WHOLE: Terms = {(1, 0): 0.5, (1, 1): 0.5}
"""x / 2 + x / 2 * t, by the powers of x and of t = erf(..) or tanh(..)."""
TOLERANCE = 1e-5
"""Relative error of a factor that an exporter rounded to a few digits, such as 0.7071; ONNX Runtime allows the same."""
GELU_OPSET = 20

HALF_X = Op("Mul", "x", Const("half"))
BY_ERF = Op("Add", Op("Erf", Op("Div", "x", Const("root"))), Const("one"))
SQUARED = Op("Mul", Op("Mul", "x", Const("cubic")), "x")
BY_PRODUCTS = Op("Mul", Op("Mul", "x", Const("slope")), Op("Add", SQUARED, Const("one")))
BY_POWER = Op("Mul", Op("Add", Op("Mul", Op("Pow", "x", Const("three")), Const("cubic")), "x"), Const("slope"))
KNOWN = (
    Op("Mul", HALF_X, BY_ERF),
    Op("Mul", Op("Mul", "x", BY_ERF), Const("half")),
    *(Op("Mul", HALF_X, Op("Add", Op("Tanh", inside), Const("unit"))) for inside in (BY_PRODUCTS, BY_POWER)),
)
"""The forms that ONNX Runtime fuses, if its constants have no more than one dimension."""


class Options(PassOptions):
    """Options of ``fuse-gelu``."""


class FuseGelu(RewritePass[Options]):
    """Make one Gelu of a GELU that is spelled out, or below opset 20 the spelling that runtimes fuse.

    *Match*: an Erf or a Tanh whose argument, and what becomes of whose result, are the polynomials of GELU's definition
    or of its tanh approximation; which operators in which order compute them does not matter.

    *Rewrite*: one Gelu. Below opset 20 ``(x * 0.5) * (erf(x / sqrt(2)) + 1)``, or ``(x * 0.5) * (tanh((x * sqrt(2 /
    pi)) * ((x * 0.044715) * x + 1)) + 1)``, of which ONNX Runtime makes its own Gelu; it misses most other orders.

    *Preserves*: the function up to rounding, that of its constants included.

    *References*: Hendrycks and Gimpel, "Gaussian error linear units", 2016 (1606.08415), section 2.
    onnxruntime/core/optimizer/gelu_fusion.cc and fast_gelu_fusion.cc for the spellings that it knows. Measured on 128 x
    1536 values, one thread, over spellings that it misses: erf 1.42, tanh 2.22; the whole of Magika 1.04.
    """

    name = "fuse-gelu"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options
    anchors = frozenset(INSIDE)

    def find(self, anchor: ir.Node, opset: int) -> Match | str | None:
        argument = anchor.inputs[0]
        assert argument is not None
        wanted = INSIDE[anchor.op_type]
        for x in operands(argument):
            inside = expand(argument, [x]) if len(x.uses()) > 1 else None
            if inside is None or inside.terms.keys() != wanted.keys():
                continue
            if x.dtype != ir.DataType.FLOAT:
                return "not float32"
            if not _equal(inside.terms, wanted):
                return f"the factors inside {anchor.op_type} are not those of GELU"
            return _with_result(anchor, x, inside, opset)
        return None

    def rewrite(self, found: Match, build: Builder) -> ir.Value:
        x, tanh = found["x"], found.named["anchor"].op_type == "Tanh"
        if build.opset >= GELU_OPSET:
            return build.op("Gelu", x, approximate="tanh" if tanh else "none")

        def op(op_type: str, a: ir.Value, b: ir.Value | float | None = None) -> ir.Value:
            return build.op(op_type, a, np.array(b, np.float32) if isinstance(b, float) else b, like=x)

        if tanh:
            squared = op("Add", op("Mul", op("Mul", x, CUBIC), x), 1.0)
            value = build.op("Tanh", op("Mul", op("Mul", x, SLOPE), squared), like=x)
        else:
            value = build.op("Erf", op("Div", x, ROOT), like=x)
        return op("Mul", op("Mul", x, 0.5), op("Add", value, 1.0))


def _with_result(anchor: ir.Node, x: ir.Value, inside: Expansion, opset: int) -> Match | str | None:
    """The match, if what becomes of the result of ``anchor`` is a GELU that is not in a known form already."""
    result = value = anchor.outputs[0]
    whole: Expansion | None = None
    while whole is None or not _equal(whole.terms, WHOLE):
        user = sole_user(value)
        if user is None:
            return _why_it_ends(value, whole)
        whole = expand(user.outputs[0], [x, result]) if user.graph is anchor.graph else None
        if whole is None:
            return f"what follows {anchor.op_type} is not the product of GELU"
        value = user.outputs[0]
    root = whole.nodes[0]
    if opset < GELU_OPSET and _is_known(root):
        return None
    inner_first = dict.fromkeys(reversed((*whole.nodes, anchor, *inside.nodes)))
    return Match(root, tuple(reversed(inner_first)), {"x": x}, {"anchor": anchor})


def _why_it_ends(value: ir.Value, whole: Expansion | None) -> str:
    if whole is not None and whole.terms.keys() == WHOLE.keys():
        return "the factors outside are not those of GELU"
    return GRAPH_OUTPUT if value.is_graph_output() else OTHER_READERS


def _equal(found: Terms, wanted: Terms) -> bool:
    return found.keys() == wanted.keys() and all(
        math.isclose(found[powers], wanted[powers], rel_tol=TOLERANCE) for powers in wanted
    )


def _is_known(root: ir.Node) -> bool:
    """Whether ONNX Runtime fuses what ends with ``root``, a GELU."""
    found = next((m for pattern in KNOWN if (m := match(pattern, root)) is not None), None)
    names = () if found is None else tuple(name for name in found.values if name != "x")
    return found is not None and all(
        found.array(name).ndim <= 1 and found.array(name).dtype == np.float32 for name in names
    )
