from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.add_bias_last import AddBiasLast
from tests.models import Array, assert_close, check, model, op_types, random, run

B, S, D, N = 2, 5, 6, 8
ROWS = f"float[{B}, {S}, {D}] x, float[{B}, {S}, {N}] r"
OUT = f"float[{B}, {S}, {N}]"
WEIGHTS = {"w": random(D, N), "b": random(N, seed=1), "g": random(N, seed=2), "h": random(N, seed=3)}
FEEDS = {"x": random(B, S, D, seed=4), "r": random(B, S, N, seed=5)}
FORMS = {
    "usual": "m = MatMul(x, w) a = Add(m, b) s = Add(a, r) y = LayerNormalization(s, g, h)",
    "residual first": "m = MatMul(x, w) a = Add(m, b) s = Add(r, a) y = LayerNormalization(s, g, h)",
    "bias first": "m = MatMul(x, w) a = Add(b, m) s = Add(a, r) y = LayerNormalization(s, g, h)",
}


def net(lines: str, inputs: str = ROWS, outputs: str = f"{OUT} y", **changes: Array) -> ir.Model:
    found = model(f"g ({inputs}) => ({outputs}) {{ {lines} }}", **{**WEIGHTS, **changes})
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found), strict_mode=True))


def legalize(found: ir.Model) -> PassResult:
    result = AddBiasLast()(found)
    check(found)
    assert not AddBiasLast()(found).modified
    return result


def optimized(found: ir.Model, path: str) -> list[str]:
    """Operators that ONNX Runtime makes of a model."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.optimized_model_filepath = path
    onnxruntime.InferenceSession(ir.to_proto(found).SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS.keys())
def test_every_form(lines: str) -> None:
    found = net(lines)
    wanted = run(found, FEEDS)
    assert legalize(found).counts == {"fused": 1}
    assert op_types(found) == ["MatMul", "Add", "Add", "LayerNormalization"]
    last = found.graph[2]
    assert "b" in {v.name for v in last.inputs if v is not None}
    assert_close(wanted, run(found, FEEDS))


def test_onnxruntime_fuses_nothing_any_more(tmp_path: object) -> None:
    found = net(FORMS["usual"])
    assert "SkipLayerNormalization" in optimized(found, f"{tmp_path}/before.onnx")
    legalize(found)
    assert optimized(found, f"{tmp_path}/after.onnx") == ["MatMul", "Add", "Add", "LayerNormalization"]


@pytest.mark.parametrize(
    ("lines", "inputs", "changes", "reason"),
    [
        ("m = MatMul(x, w) a = Add(m, b) s = Add(a, r) y = Relu(s)", ROWS, {}, "no LayerNormalization follows"),
        (
            FORMS["usual"],
            ROWS.replace(f"{B}", "N"),
            {},
            "not two tensors of one known shape with three dimensions",
        ),
        (
            FORMS["usual"],
            f"float[{B}, {S}, {D}] x, float[{N}] r",
            {},
            "not two tensors of one known shape with three dimensions",
        ),
        (FORMS["usual"], ROWS, {"b": random(1, N)}, "the bias is not one number a column"),
        (FORMS["usual"], ROWS, {"b": np.full(N, 1e38, np.float32)}, "the bias is too large, or not a number"),
        (FORMS["usual"], ROWS, {"b": np.full(N, np.nan, np.float32)}, "the bias is too large, or not a number"),
        (FORMS["usual"], ROWS, {"b": random(1)}, "the bias is not one number a column"),
    ],
)
def test_near_misses(lines: str, inputs: str, changes: dict[str, Array], reason: str) -> None:
    out = OUT.replace(f"{B}", "N") if "N" in inputs else OUT
    result = legalize(net(lines, inputs, f"{out} y", **changes))
    assert not result.modified
    assert [skip.reason for skip in result.skips] == [reason]


@pytest.mark.parametrize(
    ("value", "reason"), [("s", "no LayerNormalization follows"), ("a", "something else reads an")]
)
def test_a_sum_that_is_read_elsewhere(value: str, reason: str) -> None:
    result = legalize(net(f"{FORMS['usual']} z = Relu({value})", outputs=f"{OUT} y, {OUT} z"))
    assert not result.modified
    assert result.skips[0].reason.startswith(reason)


@pytest.mark.parametrize("value", ["a", "s"])
def test_a_sum_that_is_a_graph_output(value: str) -> None:
    assert not legalize(net(FORMS["usual"], outputs=f"{OUT} y, {OUT} {value}")).modified


def test_double_is_left_alone() -> None:
    weights = {name: array.astype(np.float64) for name, array in WEIGHTS.items()}
    found = net(FORMS["usual"], ROWS.replace("float", "double"), f"{OUT.replace('float', 'double')} y", **weights)
    assert [skip.reason for skip in legalize(found).skips] == ["not float32"]


def test_a_shared_bias() -> None:
    found = net(f"{FORMS['usual']} z = Add(r, b)", outputs=f"{OUT} y, {OUT} z")
    wanted = run(found, FEEDS)
    assert legalize(found).modified
    assert_close(wanted, run(found, FEEDS))


def test_large_and_undefined_numbers() -> None:
    found = net(FORMS["usual"])
    feeds = {"x": FEEDS["x"].copy(), "r": FEEDS["r"].copy()}
    feeds["x"][0, 0, 0], feeds["r"][0, 1, 0], feeds["r"][1, 0] = np.nan, np.inf, 1e6
    wanted = run(found, feeds)
    legalize(found)
    found_values = run(found, feeds)
    assert np.array_equal(np.isnan(wanted[0]), np.isnan(found_values[0]))
    assert_close([np.nan_to_num(wanted[0])[:, 1:]], [np.nan_to_num(found_values[0])[:, 1:]])
