from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import PreconditionError
from tamis.compiler.graph_pass import Feeds, PassContext, PassResult
from tamis.passes.pruning.eliminate_dead_channels import EliminateDeadChannels
from tamis.passes.pruning.prune_inactive_channels import Options, PruneInactiveChannels
from tests.models import Array, check, random, run
from tests.passes.pruning.dead.dead_nets import C, X, Y, channels, difference, ready

SAMPLES = [{"x": random(1, 3, 9, 8, seed=100 + i)} for i in range(12)]
W, B, V = random(C, 3, 1, 1, seed=1), np.abs(random(C, seed=2)), random(4, C, 1, 1, seed=3)
W[6] = -W[1]
B[1], B[2], B[6] = -100, 100, -100
LINES = "h = Conv(x, w, b) r = Clip(h, least, most) y = Conv(r, v, c)"
LIMITS = {"least": np.array(0, np.float32), "most": np.array(6, np.float32), "c": random(4, seed=4)}


def net(lines: str = LINES, y: str = Y, **others: Array) -> ir.Model:
    return ready(lines, X, y, **{"w": W, "b": B, "v": V, **LIMITS, **others})


def prune(found: ir.Model, samples: list[dict[str, Array]] = SAMPLES, **options: float) -> PassResult:
    context = PassContext(samples=lambda: iter(samples))
    result = PruneInactiveChannels(Options.model_validate(options))(found, context)
    check(found)
    assert result.modified == bool(result.counts)
    assert not PruneInactiveChannels(Options.model_validate(options))(found, context).modified
    return result


def test_channels_that_are_never_active_go_and_constant_ones_are_folded() -> None:
    found = net()
    wanted = [run(found, sample) for sample in SAMPLES]
    assert not EliminateDeadChannels()(found.clone()).modified  # nothing is proven
    result = prune(found)
    assert channels(result) == {"zero": 2, "constant": 1}
    for sample, outputs in zip(SAMPLES, wanted, strict=True):
        assert difference(outputs, run(found, sample)) < 1e-6
    assert {d.why for d in result.details} == {
        "zero on all samples (seen, not proven)",
        "one number on all samples (seen, not proven)",
    }


def test_another_input_may_wake_a_channel() -> None:
    found, sample = net(), {"x": 100 * random(1, 3, 9, 8)}
    wanted = run(found, sample)
    prune(found)
    assert difference(wanted, run(found, sample)) > 1e-3


def test_a_channel_that_one_sample_wakes_stays() -> None:
    loud = {"x": 1000 * np.sign(W[1]).reshape(1, 3, 1, 1) * np.ones((1, 3, 9, 8), np.float32)}
    assert channels(prune(net(), [*SAMPLES, loud]))["zero"] == 1


@pytest.mark.parametrize(("threshold", "zero"), [(0, 2), (0.001, 2), (0.02, 3)])
def test_the_threshold_is_a_share_of_the_largest_value(threshold: float, zero: int) -> None:
    w = W.copy()
    w[3], b = w[3] * np.float32(0.01), B.copy()
    b[3] = 0.03
    assert channels(prune(net(w=w, b=b), threshold=threshold))["zero"] == zero


def test_values_within_the_threshold_of_each_other_count_as_their_middle() -> None:
    w, b = W.copy(), B.copy()
    w[3], b[3] = w[3] * np.float32(0.01), 3
    found = net(w=w, b=b)
    wanted = [run(found, sample) for sample in SAMPLES]
    assert channels(prune(found, threshold=0.02)) == {"zero": 2, "constant": 2}
    errors = [difference(outputs, run(found, sample)) for sample, outputs in zip(SAMPLES, wanted, strict=True)]
    assert 1e-6 < max(errors) < 0.02


def test_constants_before_padding_stay() -> None:
    found = net(LINES.replace("Conv(r, v", "Conv<pads = [1, 1, 1, 1]>(r, v"), v=random(4, C, 3, 3))
    result = prune(found)
    assert channels(result) == {"zero": 2}
    assert [s.reason for s in result.skips] == ["constant channels that no bias can take over"]


def test_hidden_units_that_stay_at_zero() -> None:
    i, r, b = random(1, 4, 6, seed=5), random(1, 4, 4, seed=6), random(1, 8, seed=7)
    i, r, b = (np.concatenate([a, a, a, a], axis=1) for a in (i, r, b[:, :4]))
    i[0, [1, 5, 9, 13]], r[0, [1, 5, 9, 13]], b[0, [1, 5, 9, 13]] = 0, 0, 0
    b[0, 13] = 0  # its candidate is tanh(0)
    lines = "s = LSTM<hidden_size = 4>(x, i, r, bias) q = Squeeze(s, axes) y = MatMul(q, m)"
    constants = {"bias": np.concatenate([b, 0 * b], axis=1), "axes": np.array([1]), "m": random(4, 5, seed=8)}
    found = ready(lines, "float[5, 2, 6] x", "float[5, 2, 5] y", i=i, r=r, **constants)
    samples = [{"x": random(5, 2, 6, seed=200 + n)} for n in range(8)]
    wanted = [run(found, sample) for sample in samples]
    assert channels(prune(found, samples)) == {"zero": 1}
    for sample, outputs in zip(samples, wanted, strict=True):
        assert difference(outputs, run(found, sample)) < 1e-6


def test_keeps_a_multiple() -> None:
    assert channels(prune(net(), multiple=2)) == {"zero": 2}


def test_weights_and_samples_that_are_not_finite() -> None:
    w = W.copy()
    w[0, 0] = np.nan
    result = prune(net(w=w))
    assert not result.modified
    assert {s.reason for s in result.skips} == {"weights are not finite", "not finite on the samples"}
    loud = {"x": np.full((1, 3, 9, 8), np.inf, np.float32)}
    result = prune(net("h = Conv(x, w, b) r = Relu(h) y = Conv(r, v, c)"), [*SAMPLES, loud])
    assert not result.modified
    assert [s.reason for s in result.skips] == ["not finite on the samples"]


def _none() -> Iterator[Feeds]:
    return iter(())


@pytest.mark.parametrize("samples", [None, _none, lambda: iter(SAMPLES[:7])])
def test_refuses_too_few_samples(samples: Callable[[], Iterator[Feeds]] | None) -> None:
    with pytest.raises(PreconditionError, match="samples"):
        PruneInactiveChannels()(net(), PassContext(samples=samples))


def test_samples_are_streamed() -> None:
    made: list[weakref.ref[Array]] = []
    most = 0

    def stream() -> Iterator[Feeds]:
        nonlocal most
        for sample in SAMPLES:
            array = sample["x"].copy()
            made.append(weakref.ref(array))
            most = max(most, sum(ref() is not None for ref in made))
            yield {"x": array}

    assert PruneInactiveChannels()(net(), PassContext(samples=stream)).modified
    assert most <= 4 < len(made)
