"""The verifier catches what breaks a contract, and only that."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.adversarial import adversarial_feeds
from tamis.compiler.errors import PostconditionError, RuntimeFailureError
from tamis.compiler.graph_pass import Contract
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.verify import Verifier, check_ir
from tests.models import model, random

SPEC = InputSpec((TensorSpec("x", np.dtype(np.float32), (2, 8)),), {})
LAYERS = "g (float[2, 8] x) => (float[2, 8] y) { a = MatMul(x, W) b = Relu(a) y = MatMul(b, V) }"


def net(**changes: np.ndarray[Any, Any]) -> ir.Model:
    return model(LAYERS, **({"W": random(8, 8), "V": random(8, 8, seed=1)} | changes))


def verifier(made: ir.Model, **options: Any) -> Verifier:
    samples = [{"x": random(2, 8, seed=s)} for s in range(3)]
    return Verifier(load_unoptimized, made, samples, adversarial_feeds(SPEC, 0), **options)


@pytest.mark.parametrize("contract", list(Contract))
def test_the_same_model_keeps_every_contract(contract: Contract) -> None:
    verdict = verifier(net()).check(net(), contract)
    assert verdict.ok
    assert verdict.tolerance_needed == verdict.adversarial_needed == 0


def test_a_rounding_error_breaks_exact_but_not_close() -> None:
    weights = random(8, 8)
    weights[0, 0] *= np.float32(1 + 2**-20)
    judge = verifier(net())
    assert not judge.check(net(W=weights), Contract.EXACT).ok
    assert judge.check(net(W=weights), Contract.CLOSE).ok


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.001, 1.0005])
def test_a_wrong_weight_breaks_close(factor: float) -> None:
    weights = random(8, 8)
    weights[:, 3] *= np.float32(factor)
    verdict = verifier(net()).check(net(W=weights), Contract.CLOSE)
    assert not verdict.ok
    assert "within 0.0001" in verdict.expected


@pytest.mark.parametrize(("shift", "ok"), [(1e-7, True), (3e-6, False)])
def test_rounding_of_a_small_probability_is_not_an_error(shift: float, ok: bool) -> None:
    """Probabilities reach 1, one is 1e-4: there 1e-7 is 1e-3 of the value, yet no more than rounding of the 1."""
    text = "g (float[1] x) => (float[1] y) { y = Add(x, B) }"
    given, shifted = (model(text, B=np.array([b], np.float32)) for b in (0.0, shift))
    samples = [{"x": np.array([p], np.float32)} for p in (0.9, 1e-4)]
    assert Verifier(load_unoptimized, given, samples).check(shifted, Contract.CLOSE).ok is ok


def test_a_dropped_bias_shows_on_zeros_only() -> None:
    """Samples far from zero hide a small constant; the adversarial zeros do not."""
    text = "g (float[2, 8] x) => (float[2, 8] y) { y = Add(x, B) }"
    with_bias = model(text, B=np.full(8, 1e-3, np.float32))
    without = model(text, B=np.zeros(8, np.float32))
    far = [{"x": 1e3 * random(2, 8)}]
    assert Verifier(load_unoptimized, with_bias, far).check(without, Contract.CLOSE).ok
    verdict = Verifier(load_unoptimized, with_bias, far, adversarial_feeds(SPEC, 0)).check(without, Contract.CLOSE)
    assert not verdict.ok
    assert verdict.case == "zeros"


def test_an_ill_conditioned_adversarial_input_may_move_as_much_as_the_model_itself() -> None:
    """A normalization of constant rows amplifies rounding; another order of sums is not a violation there."""
    text = "g (float[2, 8] x) => (float[2, 8] y) { h = Add(x, B) y = LayerNormalization<epsilon = 0.0>(h, S) }"
    base = model(text, B=np.full(8, 3.0, np.float32), S=np.ones(8, np.float32))
    moved = np.full(8, 3.0, np.float32)
    moved[0] = np.nextafter(moved[0], np.float32(4))
    other = model(text, B=moved, S=np.ones(8, np.float32))
    judge = Verifier(load_unoptimized, base, [{"x": random(2, 8)}], [("tiny", {"x": 1e-7 * random(2, 8, seed=3)})])
    verdict = judge.check(other, Contract.CLOSE)
    assert verdict.adversarial_needed > 1e-4
    assert verdict.ok, verdict.detail
    wrong = model(text, B=moved, S=np.full(8, 1.5, np.float32))
    assert not judge.check(wrong, Contract.CLOSE).ok


def test_lossy_is_judged_by_noise_against_the_model_as_given() -> None:
    noisy = random(8, 8) * (1 + 0.05 * random(8, 8, seed=9))
    judge = verifier(net())
    verdict = judge.check(net(W=noisy), Contract.LOSSY)
    assert verdict.ok
    assert 15 < verdict.sqnr_db < 50
    strict = verifier(net(), min_sqnr=60.0).check(net(W=noisy), Contract.LOSSY)
    assert not strict.ok
    assert strict.over_budget
    ruined = judge.check(net(W=-random(8, 8)), Contract.LOSSY)
    assert not ruined.ok
    assert not ruined.over_budget
    lost = random(8, 8)
    lost[0, 0] = np.nan
    assert "NaN" in judge.check(net(W=lost), Contract.LOSSY).detail


def test_accepted_outputs_become_the_reference() -> None:
    weights = random(8, 8) * np.float32(1 + 2**-18)
    judge = verifier(net())
    verdict = judge.check(net(W=weights), Contract.CLOSE)
    judge.accept(verdict)
    assert judge.check(net(W=weights), Contract.EXACT).ok
    assert not judge.check(net(), Contract.EXACT).ok
    assert judge.check(net(), Contract.LOSSY).sqnr_db == 300


def test_integer_outputs_must_be_equal() -> None:
    text = "g (float[2, 8] x) => (int64[2] y) { a = MatMul(x, W) y = ArgMax<axis = 1, keepdims = 0>(a) }"
    judge = Verifier(load_unoptimized, model(text, W=random(8, 8)), [{"x": random(2, 8)}])
    assert judge.check(model(text, W=random(8, 8)), Contract.CLOSE).ok
    assert not judge.check(model(text, W=-random(8, 8)), Contract.CLOSE).ok


def test_inputs_that_the_model_as_given_refuses() -> None:
    text = "g (int64[2] i) => (float[2, 3] y) { y = Gather(T, i) }"
    table = model(text, T=random(5, 3))
    judge = Verifier(load_unoptimized, table, [{"i": np.array([0, 4])}], [("far", {"i": np.array([0, 99])})])
    assert list(judge.dropped) == ["far"]
    with pytest.raises(RuntimeFailureError):
        Verifier(load_unoptimized, table, [{"i": np.array([0, 99])}])
    smaller = judge.check(model(text, T=random(4, 3)), Contract.CLOSE)
    assert not smaller.ok
    assert smaller.case == "sample 1"


def test_an_invalid_graph_is_a_broken_promise() -> None:
    broken = net()
    next(iter(broken.graph)).op_type = "NoSuchOperator"
    with pytest.raises(PostconditionError, match=r"step 3.*NoSuchOperator"):
        check_ir(broken, "step 3")


@pytest.mark.parametrize(("dtype", "ok"), [("float16", True), ("float", False)])
def test_exact_steps_on_halves_are_held_to_close(dtype: str, ok: bool) -> None:
    """ONNX Runtime rounds halves between kernels only where it has to, so that a node less changes bits."""
    numpy, eps = {"float16": (np.float16, 2**-10), "float": (np.float32, 2**-23)}[dtype]
    text = f"g ({dtype}[2, 8] x) => ({dtype}[2, 8] y) {{ y = MatMul(x, W) }}"
    weights = random(8, 8).astype(numpy)
    moved = weights.copy()
    moved[0, 0] *= 1 + 4 * eps
    judge = Verifier(load_unoptimized, model(text, W=weights), [{"x": random(2, 8).astype(numpy)}])
    assert judge.check(model(text, W=moved), Contract.EXACT).ok is ok
    assert not judge.check(model(text, W=-weights), Contract.EXACT).ok
