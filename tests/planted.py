"""Wrong passes, planted to see that the pipeline catches them: each breaks one promise."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Stage


def change_weight(model: ir.Model, factor: float, *, name: str = "W") -> PassResult:
    """Multiply the first row of an initializer."""
    value = model.graph.initializers[name]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[0] *= np.asarray(factor, array.dtype)
    value.const_value = ir.tensor(array, name=name)
    return PassResult(model, True, {"changed": 1})


class Planted(GraphPass[PassOptions]):
    """Base of the planted passes."""

    stage = Stage.FUSE
    contract = Contract.CLOSE


class WrongSign(Planted):
    """Claims ``close``, flips the sign of a filter."""

    name = "wrong-sign"

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        return change_weight(model, -1.0)


class NotExact(Planted):
    """Claims ``exact``, changes one filter by a rounding error."""

    name = "not-exact"
    contract = Contract.EXACT

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        return change_weight(model, 1.0 + 2.0**-20)


class NearlyClose(Planted):
    """Claims ``close``, is off by one part in a thousand."""

    name = "nearly-close"

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        return change_weight(model, 1.001)


class TooLossy(Planted):
    """Claims ``lossy``, destroys the model."""

    name = "too-lossy"
    contract = Contract.LOSSY

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        return change_weight(model, -30.0)


class MakesNan(Planted):
    """Claims ``lossy``, makes NaN."""

    name = "makes-nan"
    contract = Contract.LOSSY

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        return change_weight(model, float("nan"))


class Liar(Planted):
    """Changes a weight and says that it changed nothing."""

    name = "liar"
    contract = Contract.EXACT

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        change_weight(model, 2.0)
        return PassResult(model, False)


class InvalidGraph(Planted):
    """Leaves a node whose input nobody makes."""

    name = "invalid-graph"

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        node = next(n for n in model.graph if n.op_type == "Relu")
        node.replace_input_with(0, ir.Value(name="nobody"))
        return PassResult(model, True)


class Crash(Planted):
    """Raises."""

    name = "crash"

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        raise ZeroDivisionError("division by zero")


class Slow(Planted):
    """Right but slow: computes Relu eighty times over."""

    name = "slow"
    speed_motivated = True
    repeats: ClassVar[int] = 80

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        relu = next(n for n in model.graph if n.op_type == "Relu")
        last: Any = relu.outputs[0]
        for _ in range(self.repeats):
            again = ir.node("Relu", [last])
            again.outputs[0].shape, again.outputs[0].type = last.shape, last.type
            uses = [u for u in last.uses() if u.node is not again]
            for use in uses:
                use.node.replace_input_with(use.idx, again.outputs[0])
            model.graph.insert_after(last.producer(), again)
            last = again.outputs[0]
        return PassResult(model, True, {"added": self.repeats})


ALL = (WrongSign, NotExact, NearlyClose, TooLossy, MakesNan, Liar, InvalidGraph, Crash, Slow)
