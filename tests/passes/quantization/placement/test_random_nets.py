"""Small random convolutional networks: integers stay close to the floats, and the runtime's kernels to Q and DQ as written."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_ir.passes.common import IdentityEliminationPass

from tamis.passes.quantization.quantize_static import QuantizeStatic
from tests.models import Array, check, model, random, run
from tests.passes.quantization.placement.static import context, samples, sqnr

CHANNELS = 8
ACTIVATIONS = {
    "none": "{y} = Identity({x})",
    "relu": "{y} = Relu({x})",
    "clip": "{y} = Clip({x}, low, high)",
    "swish": "{y} = HardSwish({x})",
    "silu": "{y}s = Sigmoid({x}) {y} = Mul({x}, {y}s)",
    "leaky": "{y} = LeakyRelu({x})",
}
JOINS = {"none": "{y} = Identity({x})", "add": "{y} = Add({x}, {before})", "concat": "{y} = Conv({y}c, wide)"}
CONVS = {"full": (1, 3), "point": (1, 1), "grouped": (2, 3), "depthwise": (CHANNELS, 3)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


layer = st.tuples(st.sampled_from(sorted(CONVS)), st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from(sorted(JOINS)))


def network(layers: list[tuple[str, str, str]], pooled: bool, biased: bool) -> ir.Model:
    """Layers of a convolution, an activation and a join with what came before; then a classifier, or none."""
    constants: dict[str, Array] = {}
    lines = ["v0 = Identity(x)"]
    for i, (conv, activation, join) in enumerate(layers):
        group, size = CONVS[conv]
        fan = CHANNELS // group * size * size
        constants[f"w{i}"] = random(CHANNELS, CHANNELS // group, size, size, seed=i) / np.float32(np.sqrt(fan))
        bias = ""
        if biased:
            constants[f"b{i}"], bias = random(CHANNELS, seed=i + 50) * np.float32(0.3), f", b{i}"
        pad = ",".join([str(size // 2)] * 4)
        lines.append(f"c{i} = Conv<group={group}, pads=[{pad}]>(v{i}, w{i}{bias})")
        lines.append(ACTIVATIONS[activation].format(x=f"c{i}", y=f"a{i}"))
        if join == "concat":
            constants["wide"] = random(CHANNELS, 2 * CHANNELS, 1, 1, seed=99) / np.float32(4)
            lines.append(f"v{i + 1}c = Concat<axis=1>(a{i}, v{i})")
        lines.append(JOINS[join].format(x=f"a{i}", before=f"v{i}", y=f"v{i + 1}"))
    if any(activation == "clip" for _, activation, _ in layers):
        constants |= {"low": np.asarray(0, np.float32), "high": np.asarray(6, np.float32)}
    last = f"v{len(layers)}"
    if pooled:
        constants["classes"] = random(CHANNELS, 5, seed=100)
        lines.append(f"p = GlobalAveragePool({last}) f = Flatten(p) y = Gemm(f, classes)")
    else:
        lines.append(f"y = Identity({last})")
    shape = "[1,5]" if pooled else f"[1,{CHANNELS},6,6]"
    found = model(f"g (float[1,{CHANNELS},6,6] x) => (float{shape} y) {{ {' '.join(lines)} }}", 17, **constants)
    IdentityEliminationPass()(found)
    return found


@given(layers=st.lists(layer, min_size=1, max_size=3), pooled=st.booleans(), biased=st.booleans())
@settings(
    max_examples=16,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_integers_are_close_to_floats_and_kernels_to_what_is_written(
    layers: list[tuple[str, str, str]], pooled: bool, biased: bool
) -> None:
    found = network(layers, pooled, biased)
    x = samples(1, CHANNELS, 6, 6)
    want = run(found, {"x": x[0]})[0]
    assert QuantizeStatic()(found, context(x)).modified
    check(found)
    written, executed = run(found, {"x": x[0]})[0], run(found, {"x": x[0]}, optimize=True)[0]
    assert sqnr(want, written) > 15
    assert sqnr(want, executed) > 15
    np.testing.assert_allclose(executed, written, atol=steps(found, written) * largest_step(found), rtol=0)


def largest_step(found: ir.Model) -> float:
    """The largest step of an activation."""
    values = found.graph.initializers.values()
    scales = [v.const_value.numpy() for v in values if str(v.name).endswith("_scale") and v.const_value is not None]
    return float(max(scale for scale in scales if scale.ndim == 0))


def steps(found: ir.Model, written: Array) -> float:
    """One step for what ends in a Q; behind the classifier, each of its inputs may be one step off."""
    return 1.001 if written.ndim == 4 else float(np.abs(random(CHANNELS, 5, seed=100)).sum(axis=0).max())
