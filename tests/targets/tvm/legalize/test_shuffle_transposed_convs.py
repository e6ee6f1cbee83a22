from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.shuffle_transposed_convs import ShuffleTransposedConvs
from tests.models import check, model, random, run


def shuffle(found: ir.Model) -> PassResult:
    result = ShuffleTransposedConvs()(found)
    check(found)
    assert not ShuffleTransposedConvs()(found).modified
    return result


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("outputs", "size"), [(1, 2), (5, 2), (3, 3)])
def test_windows_that_do_not_overlap(outputs: int, size: int, bias: bool) -> None:
    operands = {"w": random(4, outputs, size, size)} | ({"b": random(outputs)} if bias else {})
    call = f"ConvTranspose<strides = [{size}, {size}]>(x, {', '.join(operands)})"
    found = model(f"g (float[2, 4, 3, 5] x) => (float[2, {outputs}, h, v] y) {{ y = {call} }}", **operands)
    feeds = {"x": random(2, 4, 3, 5)}
    wanted = run(found, feeds)
    assert shuffle(found).counts == {"simplified": 1}
    assert [node.op_type for node in found.graph] == ["Conv", "DepthToSpace"]
    np.testing.assert_allclose(run(found, feeds)[0], wanted[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [
        "strides = [1, 1]",
        "strides = [2, 1]",
        "strides = [2, 2], pads = [1, 0, 0, 0]",
        "strides = [2, 2], output_padding = [1, 1]",
        "strides = [2, 2], dilations = [2, 2]",
        "strides = [2, 2], group = 2",
        "strides = [2, 2], output_shape = [6, 10]",
        'strides = [2, 2], auto_pad = "SAME_UPPER"',
    ],
)
def test_what_is_left_alone(attributes: str) -> None:
    text = f"g (float[1, 4, 3, 5] x) => (float[1, c, h, v] y) {{ y = ConvTranspose<{attributes}>(x, w) }}"
    assert not shuffle(model(text, w=random(4, 2, 2, 2))).modified


def test_weights_that_are_computed() -> None:
    text = """g (float[1, 4, 3, 5] x, float[4, 2, 2, 2] w) => (float[1, 2, 6, 10] y) {
        y = ConvTranspose<strides = [2, 2]>(x, w) }"""
    assert not shuffle(model(text)).modified
