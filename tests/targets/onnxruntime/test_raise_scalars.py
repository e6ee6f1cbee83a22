from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.graph_pass import PassResult
from tamis.targets.onnxruntime.raise_scalars import RaiseScalars
from tests.models import check, elements, model, random, run, same_bits


def raise_scalars(found: ir.Model) -> PassResult:
    result = RaiseScalars()(found)
    check(found)
    assert not RaiseScalars()(found).modified
    return result


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32])
@pytest.mark.parametrize("line", ["y = Mul(x, c)", "y = Add(c, x)", "y = Sub(c, x)", "y = Div(x, c)"])
def test_every_operator(line: str, dtype: Any, shape: tuple[int, ...]) -> None:
    kind = {"float32": "float", "float64": "double"}.get(np.dtype(dtype).name, np.dtype(dtype).name)
    found = model(f"g ({kind}[N, 5, 1] x) => ({kind}[N, 5, 1] y) {{ {line} }}", c=np.full(shape, 3, dtype))
    feeds = {"x": (9 * random(4, 5, 1)).astype(dtype)}
    wanted = run(found, feeds)
    assert raise_scalars(found).counts == {"constants raised": 1}
    assert elements(found, "c").shape == (1, 1, 1)
    assert same_bits(wanted, run(found, feeds))


@pytest.mark.parametrize(
    ("shape", "constant"), [("N, 5, 2", ()), ("N, 5, K", ()), ("N, 5, 1", (5, 1)), ("N, 5, 1", (1, 1, 1)), ("1", ())]
)
def test_what_is_left_alone(shape: str, constant: tuple[int, ...]) -> None:
    found = model(f"g (float[{shape}] x) => (float[{shape}] y) {{ y = Mul(x, c) }}", c=random(*constant))
    assert not raise_scalars(found).modified


def test_a_shared_constant_is_copied() -> None:
    found = model(
        "g (float[N, 5, 1] x, float[7] v) => (float[N, 5, 1] y, float[7] z) { y = Mul(x, c) z = Mul(v, c) }",
        c=np.array(2, np.float32),
    )
    feeds = {"x": random(2, 5, 1), "v": random(7)}
    wanted = run(found, feeds)
    assert raise_scalars(found).modified
    assert elements(found, "c").shape == ()
    assert same_bits(wanted, run(found, feeds))


def test_in_a_subgraph() -> None:
    found = model(
        """g (bool b, float[2, 5, 1] x) => (float[2, 5, 1] z) {
            z = If (b) <
                then_branch = t () => (float[2, 5, 1] y) { y = Mul(x, c) },
                else_branch = f () => (float[2, 5, 1] w) { w = Neg(x) }
            >
        }""",
        c=np.array(2, np.float32),
    )
    feeds = {"b": np.array(True), "x": random(2, 5, 1)}
    wanted = run(found, feeds)
    assert raise_scalars(found).modified
    assert same_bits(wanted, run(found, feeds))
