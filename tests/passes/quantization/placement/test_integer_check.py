"""Planted defects: what the target would compute in floats is an error that names the node."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from tamis.compiler.errors import PostconditionError
from tamis.compiler.machine_data import Machine
from tamis.passes.quantization.placement.static_quantizer import StaticQuantizer
from tamis.passes.quantization.quantize_static import Options, QuantizeStatic
from tests.models import model, random
from tests.passes.quantization.placement.static import context, samples


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def net() -> ir.Model:
    found = model(
        """g (float[1,8,4,4] x) => (float[1,8,4,4] y) {
            a = Conv(x, w) b = Conv(x, w) r = Relu(b) s = Add(a, r) m = MaxPool<kernel_shape=[1,1]>(s) y = Conv(m, w) }""",
        17,
        w=random(8, 8, 1, 1),
    )
    for node in found.graph:
        node.name = f"node_{node.outputs[0].name}"
    return found


def plant(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    """Let the Q behind each of ``values`` stand behind a Neg instead."""
    real = StaticQuantizer.apply

    def misplaced(self: StaticQuantizer, given: ir.Model, chosen: set[str]):  # type: ignore[no-untyped-def]
        islands = real(self, given, chosen)
        for node in list(given.graph):
            if node.op_type == "QuantizeLinear" and node.inputs[0].name in values:  # type: ignore[union-attr, operator]
                between = ir.node("Neg", [node.inputs[0]])
                given.graph.insert_before(node, between)
                node.replace_input_with(0, between.outputs[0])
        return islands

    monkeypatch.setattr(StaticQuantizer, "apply", misplaced)


def test_as_it_should_be() -> None:
    assert QuantizeStatic()(net(), context(samples(1, 8, 4, 4))).modified


@pytest.mark.parametrize(("value", "node"), [("a", "node_a"), ("b", "node_b"), ("s", "node_s"), ("y_float", "node_y")])
def test_a_misplaced_q_is_an_error_that_names_the_node(value: str, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and elementwise nodes alike; the ReLU behind ``b`` is taken out, and does not hide it."""
    plant(monkeypatch, value)
    with pytest.raises(PostconditionError, match=rf"in floats; .*found {node};"):
        QuantizeStatic()(net(), context(samples(1, 8, 4, 4)))


def test_allow_float_relaxes_what_it_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "a", "s")
    given = context(samples(1, 8, 4, 4))
    with pytest.raises(PostconditionError, match="found node_a;"):
        QuantizeStatic(Options(allow_float=("node_s",)))(net(), given)
    with pytest.raises(PostconditionError, match="found node_s;"):
        QuantizeStatic(Options(allow_float=("*_a", "node_y")))(net(), given)
    assert QuantizeStatic(Options(allow_float=("node_[as]",)))(net(), given).modified


def test_a_product_whose_weight_was_folded_to_floats_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its name nor its weight tells; the runtime computes more products in floats than the model has."""
    from tamis.targets.onnxruntime.runtime import OnnxRuntime

    real = OnnxRuntime.optimized_model

    def folded(self: OnnxRuntime, given: ir.Model, machine: Machine) -> ir.Model | None:
        optimized = real(self, given, machine)
        assert optimized is not None
        optimized.graph.append(ir.node("Conv", [optimized.graph.inputs[0], optimized.graph.inputs[0]]))
        return optimized

    monkeypatch.setattr(OnnxRuntime, "optimized_model", folded)
    given = context(samples(1, 8, 4, 4))
    with pytest.raises(PostconditionError, match="1 products, of whatever name"):
        QuantizeStatic(Options(allow_float=("node_a",)))(net(), given)
