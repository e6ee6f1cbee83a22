from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.decompose_rnn import DecomposeRnn, Options
from tests.models import Array, assert_close, check, model, nodes, op_types, random, run

T, B, X, H = 5, 2, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
TEXT: dict[Any, str] = {np.float16: "float16", np.float32: "float", np.float64: "double"}


def weights(kind: str, directions: int = 1, dtype: type = np.float32) -> dict[str, Array]:
    gates = GATES[kind] * H
    found = {
        "w": random(directions, gates, X, seed=1),
        "r": random(directions, gates, H, seed=2),
        "b": random(directions, 2 * gates, seed=3),
    }
    return {name: (0.5 * array).astype(dtype) for name, array in found.items()}


def net(
    kind: str,
    attributes: str = "",
    inputs: str = "x, w, r, b",
    *,
    directions: int = 1,
    opset: int = 17,
    batch: int | str = B,
    dtype: type = np.float32,
    **more: Array,
) -> ir.Model:
    """A recurrent node with all its outputs as graph outputs."""
    t, d = TEXT[dtype], directions
    states = ["yh", "yc"] if kind == "LSTM" else ["yh"]
    outputs = "".join(f", {t}[{d}, {batch}, {H}] {name}" for name in states)
    given = "".join(f", {t}[{d}, {batch}, {H}] {name}" for name in ("h", "c") if f", {name}" in inputs)
    attributes = f"<hidden_size = {H}{', ' if attributes else ''}{attributes}>"
    text = f"""g ({t}[{T}, {batch}, {X}] x{given}) => ({t}[{T}, {d}, {batch}, {H}] y{outputs})
        {{ y, {", ".join(states)} = {kind}{attributes}({inputs}) }}"""
    used = {k: v for k, v in {**weights(kind, d, dtype), **more}.items() if k in inputs.replace(" ", "").split(",")}
    return model(text, opset, **used)


def feeds_of(found: ir.Model, batch: int = B) -> dict[str, Array]:
    made = {}
    for i, value in enumerate(found.graph.inputs):
        assert value.name is not None and value.shape is not None and value.dtype is not None
        shape = [d if isinstance(d, int) else batch for d in value.shape]
        made[value.name] = random(*shape, seed=10 + i).astype(value.dtype.numpy())
    return made


def decompose(found: ir.Model, options: Options | None = None) -> PassResult:
    result = DecomposeRnn(options)(found)
    check(found)
    assert not DecomposeRnn(options)(found).modified
    return result


def assert_decomposed(found: ir.Model, batch: int = B) -> None:
    feeds = feeds_of(found, batch)
    wanted = run(found, feeds)
    assert decompose(found).counts == {"simplified": 1}
    assert not {node.op_type for node in nodes(found)} & set(GATES)
    assert_close(wanted, run(found, feeds))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("inputs", ["x, w, r", "x, w, r, b", "x, w, r, b, , h, c", "x, w, r, , , h, c, p"])
@pytest.mark.parametrize("kind", GATES)
def test_directions_and_inputs(kind: str, inputs: str, direction: str) -> None:
    if kind != "LSTM":
        inputs = inputs.replace(", c", "").replace(", p", "")
    d = 2 if direction == "bidirectional" else 1
    found = net(kind, f'direction = "{direction}"', inputs, directions=d, p=random(d, 3 * H, seed=4))
    assert_decomposed(found)


@pytest.mark.parametrize("inputs", ["x, w, r", "x, w, r, b, , h"])
def test_linear_before_reset(inputs: str) -> None:
    assert_decomposed(net("GRU", 'linear_before_reset = 1, direction = "bidirectional"', inputs, directions=2))


def test_input_forget() -> None:
    assert_decomposed(net("LSTM", "input_forget = 1", "x, w, r, b, , h, c, p", p=random(1, 3 * H, seed=4)))


@pytest.mark.parametrize(
    ("kind", "activations"),
    [
        ("LSTM", 'activations = ["HardSigmoid", "Softsign", "Relu"]'),
        ("LSTM", 'activations = ["Sigmoid", "LeakyRelu", "Elu"], activation_alpha = [0.2, 0.7]'),
        ("GRU", 'activations = ["HARDSIGMOID", "Softplus"], activation_alpha = [0.3], activation_beta = [0.4]'),
        ("RNN", 'activations = ["Relu"]'),
        ("RNN", 'activations = ["LeakyRelu"], activation_alpha = [0.3]'),
    ],
)
def test_activations(kind: str, activations: str) -> None:
    assert_decomposed(net(kind, activations))


def test_activations_of_each_direction() -> None:
    activations = 'direction = "bidirectional", activations = ["LeakyRelu", "LeakyRelu"], activation_alpha = [0.1, 0.6]'
    assert_decomposed(net("RNN", activations, directions=2))


@pytest.mark.parametrize("opset", [7, 12, 13, 14, 18, 21])
@pytest.mark.parametrize("kind", GATES)
def test_operator_sets(kind: str, opset: int) -> None:
    assert_decomposed(
        net(
            kind,
            'direction = "bidirectional"',
            "x, w, r, b, , h, c"[: None if kind == "LSTM" else -3],
            directions=2,
            opset=opset,
        )
    )


@pytest.mark.parametrize("kind", GATES)
def test_double(kind: str) -> None:
    feeds = feeds_of(found := net(kind, dtype=np.float64))
    reference = onnx.reference.ReferenceEvaluator(ir.to_proto(found))  # ONNX Runtime has float32 only
    wanted = [np.asarray(array) for array in reference.run(None, feeds)]
    assert decompose(found).modified
    assert_close(wanted[:2], run(found, feeds)[:2])


def test_half() -> None:
    found = net("LSTM", dtype=np.float16)
    single = net("LSTM")
    feeds = feeds_of(found)
    wanted = run(single, {name: array.astype(np.float32) for name, array in feeds.items()})
    assert decompose(found).modified
    assert_close([array.astype(np.float16) for array in wanted], run(found, feeds))


@pytest.mark.parametrize("kind", GATES)
def test_batch_first(kind: str) -> None:
    usual = net(kind, 'direction = "bidirectional"', "x, w, r, b, , h", directions=2)
    text = f"""g (float[{B}, {T}, {X}] x, float[{B}, 2, {H}] h) => (float[{B}, {T}, 2, {H}] y, float[{B}, 2, {H}] yh)
        {{ y, yh = {kind}<hidden_size = {H}, layout = 1, direction = "bidirectional">(x, w, r, b, , h) }}"""
    found = model(text, 17, **weights(kind, 2))
    feeds = feeds_of(usual)
    y, yh = run(usual, feeds)[:2]
    assert decompose(found).modified
    got = run(found, {name: np.ascontiguousarray(np.swapaxes(array, 0, 1)) for name, array in feeds.items()})
    assert_close([np.transpose(y, (2, 0, 1, 3)), np.swapaxes(yh, 0, 1)], got)


@pytest.mark.parametrize("kind", GATES)
def test_dynamic_batch(kind: str) -> None:
    assert_decomposed(net(kind, 'direction = "reverse"', batch="N"), batch=3)


def test_more_steps_than_a_concat_takes() -> None:
    found = model(
        "g (float[35, 1, 3] x) => (float[35, 1, 1, 4] y) { y = GRU<hidden_size = 4>(x, w, r, b) }", 17, **weights("GRU")
    )
    assert_decomposed(found)
    assert max(len(node.inputs) for node in nodes(found) if node.op_type == "Concat") == 16
    (steps,) = (node for node in nodes(found) if node.op_type == "Split" and len(node.outputs) == 35)
    assert len(steps.inputs) == 1  # ONNX Runtime refuses a long list of sizes that lies outside the file of the model


def test_only_what_is_read_is_built() -> None:
    found = model(
        f"g (float[{T}, 2, 3] x) => (float[1, 2, 4] z) {{ y, h = RNN<hidden_size = 4>(x, w, r, b) z = Neg(h) }}",
        17,
        **weights("RNN"),
    )
    assert_decomposed(found)
    assert not {"Concat", "Unsqueeze"} & set(op_types(found))


def test_full_sequences() -> None:
    assert_decomposed(net("LSTM", "", "x, w, r, b, n", n=np.array([T, T], np.int32)))


def test_a_shared_weight_stays_for_its_other_reader() -> None:
    found = model(
        f"""g (float[{T}, 2, 3] x) => (float[{T}, 1, 2, 4] y, float[1, 4, 3] z)
            {{ y = RNN<hidden_size = 4>(x, w, r, b) z = Neg(w) }}""",
        17,
        **weights("RNN"),
    )
    assert_decomposed(found)
    assert set(found.graph.initializers) >= {"w"} and not {"r", "b"} & set(found.graph.initializers)


def test_two_nodes_one_after_the_other() -> None:
    more = {"u": 0.5 * random(1, 4, 8, seed=7), "v": 0.5 * random(1, 4, 4, seed=8)}
    found = model(
        f"""g (float[{T}, 2, 3] x) => (float[{T}, 1, 2, 4] z) {{
            y = RNN<hidden_size = 4, direction = "bidirectional">(x, w, r)
            t = Transpose<perm = [0, 2, 1, 3]>(y) s = Reshape(t, shape) z = RNN<hidden_size = 4>(s, u, v) }}""",
        17,
        shape=np.array([T, 2, 8]),
        **more,
        **{k: v for k, v in weights("RNN", 2).items() if k != "b"},
    )
    found = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), data_prop=True))
    feeds = feeds_of(found)
    wanted = run(found, feeds)
    assert decompose(found).counts == {"simplified": 2}
    assert_close(wanted, run(found, feeds))


def test_in_a_subgraph_that_captures() -> None:
    found = model(
        f"""g (bool k, float[{T}, 2, 3] x) => (float[{T}, 1, 2, 4] z) {{ z = If (k) <
            then_branch = t () => (float[{T}, 1, 2, 4] p) {{ p = RNN<hidden_size = 4>(x, w, r, b) }},
            else_branch = e () => (float[{T}, 1, 2, 4] q) {{ q = RNN<hidden_size = 4, direction = "reverse">(x, w, r, b) }}
        > }}""",
        17,
        **weights("RNN"),
    )
    feeds = [{"k": np.array(k), "x": random(T, 2, 3, seed=9)} for k in (True, False)]
    wanted = [run(found, f) for f in feeds]
    assert decompose(found).counts == {"simplified": 2}
    for w, f in zip(wanted, feeds, strict=True):
        assert_close(w, run(found, f))


def without_weights(name: str) -> ir.Model:
    found = net("RNN")
    value = found.graph.initializers.pop(name)
    found.graph.inputs.append(value)
    return found


def dynamic_length() -> ir.Model:
    return model(
        "g (float[L, 2, 3] x) => (float[L, 1, 2, 4] y) { y = RNN<hidden_size = 4>(x, w, r, b) }", 17, **weights("RNN")
    )


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (dynamic_length(), "the number of steps is not known"),
        (
            net("LSTM", "", "x, w, r, b, n", n=np.array([T, T - 1], np.int32)),
            "the sequences may be shorter than the tensor",
        ),
        (net("LSTM", "clip = 3.0"), "it clips its gates"),
        (net("RNN", 'activations = ["ScaledTanh"]'), "activation ScaledTanh"),
        (without_weights("w"), "the weights are not constant"),
        (without_weights("b"), "the biases are not constant"),
        (net("RNN", r=np.full((1, 4, 4), np.inf, np.float32)), "the weights are not finite"),
    ],
)
def test_what_is_left_alone(found: ir.Model, reason: str) -> None:
    result = DecomposeRnn()(found)
    assert not result.modified and [skip.reason for skip in result.skips] == [reason]


def test_long_sequences_are_left_alone() -> None:
    options = Options(max_steps=T - 1)
    result = decompose(found := net("GRU"), options)
    assert [skip.reason for skip in result.skips] == ["more steps than max_steps"]
    assert decompose(found, Options(max_steps=T)).modified
