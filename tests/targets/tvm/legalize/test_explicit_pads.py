from __future__ import annotations

import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.tvm.legalize.explicit_pads import ExplicitPads
from tests.models import check, model, random, run, same_bits


def pad(found: ir.Model) -> PassResult:
    result = ExplicitPads()(found)
    check(found)
    assert not ExplicitPads()(found).modified
    return result


def assert_padded(found: ir.Model, shape: tuple[int, ...]) -> None:
    feeds = {"x": random(*shape)}
    wanted = run(found, feeds)
    assert pad(found).counts == {"simplified": 1}
    assert not {"auto_pad", "output_shape"} & set(found.graph[0].attributes)
    assert same_bits(wanted, run(found, feeds))


@pytest.mark.parametrize("opset", [7, 11, 22])
@pytest.mark.parametrize("auto_pad", ["", ', auto_pad = "SAME_UPPER"', ', auto_pad = "SAME_LOWER"'])
@pytest.mark.parametrize("shape", ["[9, 9]", "[8, 9]", "[7, 10]", "[11, 11]"])
def test_output_shapes(shape: str, auto_pad: str, opset: int) -> None:
    attributes = f"output_shape = {shape}, strides = [3, 2]{auto_pad}"
    text = f"g (float[1, 2, 3, 5] x) => (float[1, 3, h, w_] y) {{ y = ConvTranspose<{attributes}>(x, w) }}"
    assert_padded(model(text, opset, w=random(2, 3, 4, 3)), (1, 2, 3, 5))


def test_output_padding_and_dilations() -> None:
    attributes = "output_shape = [9, 12], strides = [3, 2], output_padding = [1, 1], dilations = [1, 2]"
    text = f"g (float[1, 2, 3, 5] x) => (float[1, 3, h, w_] y) {{ y = ConvTranspose<{attributes}>(x, w) }}"
    assert_padded(model(text, 17, w=random(2, 3, 4, 3)), (1, 2, 3, 5))


@pytest.mark.parametrize("strides", ["", ", strides = [2, 2]", ", strides = [2, 3]", ", strides = [3, 1]"])
@pytest.mark.parametrize("size", [(7, 8), (8, 9), (6, 6)])
def test_pools(size: tuple[int, int], strides: str) -> None:
    height, width = size
    attributes = f'kernel_shape = [3, 4], auto_pad = "SAME_LOWER"{strides}'
    text = f"g (float[1, 2, {height}, {width}] x) => (float[1, 2, h, w] y) {{ y = MaxPool<{attributes}>(x) }}"
    assert_padded(model(text, 17), (1, 2, height, width))


def test_what_is_left_alone() -> None:
    same = 'MaxPool<kernel_shape = [3, 3], auto_pad = "SAME_UPPER">'
    assert not pad(model(f"g (float[1, 2, 7, 7] x) => (float[1, 2, h, w] y) {{ y = {same}(x) }}")).modified
    lower = 'MaxPool<kernel_shape = [3, 3], auto_pad = "SAME_LOWER">'
    dynamic = model(f"g (float[1, 2, H, 7] x) => (float[1, 2, h, w] y) {{ y = {lower}(x) }}")
    assert [skip.reason for skip in pad(dynamic).skips] == ["sizes that are not known"]


def test_an_output_shape_that_nothing_reaches() -> None:
    text = "g (float[1, 2, 3, 5] x) => (float[1, 3, h, w_] y) { y = ConvTranspose<output_shape = [20, 20]>(x, w) }"
    result = ExplicitPads()(model(text, 17, w=random(2, 3, 4, 3)))
    assert [skip.reason for skip in result.skips] == ["an output shape larger than what the kernel reaches"]
