from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import DataError
from tamis.compiler.graph_pass import Feeds
from tamis.passes.pruning.compensation import least_squares, paired_rows
from tamis.passes.pruning.compensation.refit import refit
from tamis.passes.pruning.compensation.survivors import Survivors
from tests.models import Array, check, elements, model, random, run

CHAIN = """g (float[1, 3, 6, 6] x) => (float[1, 4, 6, 6] y) {
    a = Conv(x, w, b)
    y = Conv<pads=[1, 1, 1, 1]>(a, v, c)
}"""
RESIDUAL = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) {
    s = Conv(x, p, b)
    h = Mul(s, s0)
    z = Conv(h, q)
    t = Add(z, s)
    u = Relu(t)
    y = Conv(u, v)
}"""
EXACT = (1e-12,)


def named(found: ir.Model) -> ir.Model:
    for number, node in enumerate(found.graph):
        node.name = f"n{number}"
    return found


def data(*shape: int, count: int = 16, first: int = 10) -> Callable[[], Iterable[Feeds]]:
    return lambda: [{"x": random(*shape, seed=first + i)} for i in range(count)]


def distance(a: ir.Model, b: ir.Model, samples: Callable[[], Iterable[Feeds]]) -> float:
    """Relative, in the Euclidean norm."""
    pairs = [(run(a, s)[0].astype(np.float64), run(b, s)[0]) for s in samples()]
    return float(np.sqrt(sum(np.square(y - z).sum() for y, z in pairs) / sum(np.square(y).sum() for y, _ in pairs)))


def less(found: ir.Model, **cut: Array) -> ir.Model:
    """A copy with other weights."""
    copy = found.clone()
    for name, array in cut.items():
        value = copy.graph.initializers[name]
        value.const_value, value.shape = ir.tensor(array, name=name), ir.Shape(array.shape)
    for node in copy.graph:
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None
    check(copy)
    return copy


def dependent() -> tuple[ir.Model, ir.Model]:
    """Channels 2 and 4 of the first layer are sums of others, up to a constant; they are gone in the second model."""
    w, b = random(5, 3, 1, 1), random(5, seed=1)
    w[2], w[4] = w[0] - 2 * w[1], w[3] + 0.5 * w[0]
    v, c = random(4, 5, 3, 3, seed=2), random(4, seed=3)
    whole = named(model(CHAIN.replace(", pads=[1, 1, 1, 1]", "").replace("<pads=[1, 1, 1, 1]>", "")
                        .replace("4, 6, 6] y", "4, 4, 4] y"), w=w, b=b, v=v, c=c))  # fmt: skip
    stay = [0, 1, 3]
    return whole, less(whole, w=w[stay], b=b[stay], v=v[:, stay])


def kept() -> dict[str, Survivors]:
    return {"n0": Survivors(np.arange(3), np.array([0, 1, 3])), "n1": Survivors(np.array([0, 1, 3]), np.arange(4))}


def test_channels_that_others_hold_are_recovered() -> None:
    whole, pruned = dependent()
    samples = data(1, 3, 6, 6)
    assert distance(whole, pruned, samples) > 0.1
    found = refit(pruned, whole, kept(), samples, ridges=EXACT)
    check(pruned)
    assert (found.layers, found.skips, [d.got for d in found.details]) == (1, (), ["refit"])
    assert found.details[0].figures["error_after"] < 1e-9 < found.details[0].figures["error_before"]
    assert distance(whole, pruned, data(1, 3, 6, 6, first=99)) < 1e-5


def test_a_bias_is_made_where_there_is_none() -> None:
    whole, pruned = dependent()
    for found in (whole, pruned):
        list(found.graph)[1].resize_inputs(2)
    refit(pruned, whole, kept(), data(1, 3, 6, 6), ridges=EXACT)
    check(pruned)
    assert len(list(pruned.graph)[1].inputs) == 3
    assert distance(whole, pruned, data(1, 3, 6, 6, first=99)) < 1e-5


def test_outputs_that_went_are_not_a_target() -> None:
    whole, _ = dependent()
    text = "g (float[1, 3, 6, 6] x) => (float[1, 2, 4, 4] y) { a = Conv(x, w, b) y = Conv(a, v, c) }"
    arrays = {name: elements(whole, name) for name in "wbvc"}
    stay, left = [0, 1, 3], np.array([1, 3])
    cut = {"w": arrays["w"][stay], "b": arrays["b"][stay], "v": arrays["v"][left][:, stay], "c": arrays["c"][left]}
    pruned = named(model(text, **cut))
    refit(pruned, whole, {**kept(), "n1": Survivors(np.array(stay), left)}, data(1, 3, 6, 6), ridges=EXACT)
    feeds = {"x": random(1, 3, 6, 6, seed=99)}
    np.testing.assert_allclose(run(pruned, feeds)[0], run(whole, feeds)[0][:, left], atol=1e-4)


def test_held_out_samples_prevent_a_blow_up() -> None:
    whole, pruned = dependent()
    samples = data(1, 3, 6, 6, count=2)
    noisy = less(whole, w=random(5, 3, 1, 1, seed=5), v=random(4, 5, 3, 3, seed=6))  # nothing to be learnt from 2 rows
    before = distance(noisy, pruned, data(1, 3, 6, 6, first=50))
    found = refit(pruned, noisy, kept(), samples, positions=2, ridges=(1e-12,))
    assert distance(noisy, pruned, data(1, 3, 6, 6, first=50)) < 1.5 * before
    assert all(d.figures["error_after"] <= d.figures["error_before"] for d in found.details)
    assert "refit" not in [d.got for d in found.details]


def residual() -> tuple[ir.Model, ir.Model]:
    p, b, q, v = random(4, 4, 1, 1), random(4, seed=1), random(4, 4, 1, 1, seed=2), random(4, 4, 1, 1, seed=3)
    whole = named(model(RESIDUAL, p=p, b=b, q=q, v=v, s0=np.asarray(2, np.float32)))
    rough = p + 0.5 * random(4, 4, 1, 1, seed=4)  # what the shortcut carries is off
    return whole, less(whole, p=rough)


def test_a_shortcut_that_is_off_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = data(1, 4, 6, 6, count=24)
    whole, pruned = residual()
    plain = pruned.clone()
    refit(pruned, whole, {}, samples, ridges=EXACT)
    monkeypatch.setattr("tamis.passes.pruning.compensation.refit_plan._added", lambda *_: None)
    refit(plain, whole, {}, samples, ridges=EXACT)
    fresh = data(1, 4, 6, 6, first=99)
    assert distance(whole, pruned, fresh) < 1e-5
    assert distance(whole, plain, fresh) > 5e-2


@pytest.mark.parametrize("swapped", [False, True])
def test_the_shortcut_may_be_computed_later(swapped: bool) -> None:
    """The Add is right only if the layer that the graph lists first is refitted last."""
    text = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) {
        a = Conv(x, p)
        z = Conv(a, q)
        s = Conv(a, r)
        t = Relu(s)
        y = Add(ORDER)
    }""".replace("ORDER", "t, z" if swapped else "z, t")
    p, q, r = (random(4, 4, 1, 1, seed=i) for i in range(3))
    whole = named(model(text, p=p, q=q, r=r))
    pruned = less(whole, p=p[:3], q=q[:, :3], r=r[:, :3])
    found = refit(pruned, whole, {}, data(1, 4, 6, 6))
    assert [d.place for d in found.details] == ["n2", "n1"]
    check(pruned)


def test_two_layers_that_one_add_sums() -> None:
    text = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) {
        a = Conv(x, p)
        z = Conv(a, q)
        s = Conv(a, r)
        y = Add(s, z)
    }"""
    p, q, r = (random(4, 4, 1, 1, seed=i) for i in range(3))
    whole = named(model(text, p=p, q=q, r=r))
    pruned = less(whole, p=p[:3], q=q[:, :3], r=r[:, :3])
    before = distance(whole, pruned, data(1, 4, 6, 6))
    assert [d.place for d in refit(pruned, whole, {}, data(1, 4, 6, 6)).details] == ["n1", "n2"]
    assert distance(whole, pruned, data(1, 4, 6, 6)) < before


@pytest.mark.parametrize(
    ("layer", "weight"),
    [
        ("Conv<group=3, pads=[1, 1, 1, 1]>(a, v)", (6, 1, 3, 3)),
        ("Conv<group=3, strides=[2, 2]>(a, v)", (3, 1, 3, 3)),
        ("Conv<pads=[2, 2, 2, 2], dilations=[2, 2]>(a, v)", (5, 3, 3, 3)),
        ('Conv<auto_pad="SAME_LOWER", strides=[2, 2]>(a, v)', (5, 3, 2, 3)),
        ("ConvTranspose<strides=[2, 2]>(a, v)", (3, 4, 2, 2)),
        (
            "ConvTranspose<strides=[2, 3], pads=[1, 0, 2, 1], output_padding=[1, 2], dilations=[2, 1]>(a, v)",
            (3, 4, 3, 2),
        ),
        ("ConvTranspose<group=3>(a, v)", (3, 2, 3, 3)),
        ("MatMul(a, v)", (6, 5)),
    ],
)
def test_every_kind_of_layer(layer: str, weight: tuple[int, ...]) -> None:
    """Weights that were disturbed come back."""
    text = f"g (float[1, 3, 6, 6] x) => (float[N, A, B, C] y) {{ a = Conv(x, w) y = {layer} }}"
    whole = named(model(text, w=random(3, 3, 1, 1), v=random(*weight, seed=1)))
    pruned = less(whole, w=1.5 * elements(whole, "w"), v=random(*weight, seed=2))
    found = refit(pruned, whole, {}, data(1, 3, 6, 6), ridges=EXACT)
    check(pruned)
    assert [d.got for d in found.details] == ["refit"]
    assert distance(whole, pruned, data(1, 3, 6, 6, first=99)) < 1e-5


@pytest.mark.parametrize("attributes", ["", "<transB=1>", "<alpha=0.5, beta=2.0>", "<transA=1, transB=1>"])
@pytest.mark.parametrize("bias", [(), (1,), (5,), (1, 5), None])
def test_every_kind_of_gemm(attributes: str, bias: tuple[int, ...] | None) -> None:
    sizes = "4, 7" if "transA" in attributes else "7, 4"
    third = "" if bias is None else ", c"
    text = f"g (float[{sizes}] x) => (float[7, 5] y) {{ a = Mul(x, w) y = Gemm{attributes}(a, v{third}) }}"
    shape = (5, 4) if "transB" in attributes else (4, 5)
    arrays = {} if bias is None else {"c": random(*bias, seed=3)}
    whole = named(model(text, w=np.asarray(2, np.float32), v=random(*shape), **arrays))
    pruned = less(whole, w=np.asarray(3, np.float32), v=random(*shape, seed=1), **{n: a + 1 for n, a in arrays.items()})
    a, b = (int(s) for s in sizes.split(", "))
    refit(pruned, whole, {}, data(a, b), ridges=EXACT)
    check(pruned)
    assert distance(whole, pruned, data(a, b, first=99)) < 1e-5


def test_a_matmul_with_its_bias_behind_it() -> None:
    text = "g (float[2, 7, 4] x) => (float[2, 7, 5] y) { a = Mul(x, w) m = MatMul(a, v) y = Add(c, m) }"
    whole = named(model(text, w=np.asarray(2, np.float32), v=random(4, 5), c=random(5)))
    pruned = less(whole, w=np.asarray(3, np.float32), v=random(4, 5, seed=1), c=random(5, seed=2))
    refit(pruned, whole, {}, data(2, 7, 4), ridges=EXACT)
    assert distance(whole, pruned, data(2, 7, 4, first=99)) < 1e-5


def test_other_readers_of_a_weight_keep_it() -> None:
    text = "g (float[1, 3, 6, 6] x) => (float[1, 3, 6, 6] y, float[1, 3, 6, 6] z) { a = Conv(x, w) y = Conv(a, v) z = Conv(x, v) }"
    whole = named(model(text, w=random(3, 3, 1, 1), v=random(3, 3, 1, 1, seed=1)))
    pruned = less(whole, w=random(3, 3, 1, 1, seed=2))
    feeds = {"x": random(1, 3, 6, 6)}
    found = refit(pruned, whole, {}, data(1, 3, 6, 6), ridges=EXACT)
    assert [d.place for d in found.details] == ["n1"]
    assert np.array_equal(run(pruned, feeds)[1], run(whole, feeds)[1])
    assert distance(whole, pruned, data(1, 3, 6, 6)) < 1e-5


def test_nothing_is_done_where_nothing_differs() -> None:
    whole, _ = dependent()
    same = whole.clone()
    found = refit(same, whole, {}, data(1, 3, 6, 6))
    assert (found.layers, found.skips, found.details) == (0, (), ())
    assert np.array_equal(elements(same, "v"), elements(whole, "v"))


def test_unusable_samples() -> None:
    whole, pruned = dependent()
    weights = elements(pruned, "v").copy()
    with pytest.raises(DataError, match="no samples"):
        refit(pruned, whole, kept(), list)
    nothing = np.full((1, 3, 6, 6), np.nan, np.float32)
    found = refit(pruned, whole, kept(), lambda: [{"x": nothing}] * 5)
    assert (found.layers, [s.node for s in found.skips]) == (0, ["n1"])
    zeros = refit(pruned, whole, kept(), lambda: [{"x": np.zeros((1, 3, 6, 6), np.float32)}] * 5, ridges=(0.0, 1e-3))
    assert [d.got for d in zeros.details] == ["bias"]  # one row over and over: no weight can be told from it
    assert np.array_equal(elements(pruned, "v"), weights)


def test_rows_that_are_not_finite_are_left_out() -> None:
    whole, pruned = dependent()

    def samples() -> Iterable[Feeds]:
        for feeds in data(1, 3, 6, 6)():
            spoilt = feeds["x"].copy()
            spoilt[0, 0, 0, 0], spoilt[0, 1, 5, 5] = np.nan, np.inf
            yield {"x": spoilt}

    refit(pruned, whole, kept(), samples, ridges=EXACT)
    assert distance(whole, pruned, data(1, 3, 6, 6, first=99)) < 1e-5


def test_weights_that_are_not_finite_are_left_alone() -> None:
    whole, pruned = dependent()
    bad = elements(pruned, "v").copy()
    bad[0, 0, 0, 0] = np.nan
    found = refit(less(pruned, v=bad), whole, kept(), data(1, 3, 6, 6))
    assert [s.reason for s in found.skips] == ["a weight that is not finite"]


def test_models_that_do_not_fit_together_are_left_alone() -> None:
    whole, pruned = dependent()
    found = refit(pruned, whole, {**kept(), "n1": Survivors(np.arange(3), np.arange(2))}, data(1, 3, 6, 6))
    assert [s.reason for s in found.skips] == ["its output and that of the reference do not fit together"]
    list(whole.graph)[1].name = "other"
    found = refit(pruned, whole, kept(), data(1, 3, 6, 6))
    assert [s.reason for s in found.skips] == ["no layer of that name in the reference"]


def test_a_single_sample_is_judged_by_some_of_its_rows() -> None:
    whole, pruned = dependent()
    assert refit(pruned, whole, kept(), data(1, 3, 40, 6, count=1), ridges=EXACT).layers == 1
    assert distance(whole, pruned, data(1, 3, 6, 6, first=99)) < 1e-5


@pytest.mark.parametrize(("memory", "samples"), [(1, 1), (6000, 2), (2**30, 16)])
def test_few_samples_are_enough_where_memory_is_short(
    memory: int, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired_rows, "MEMORY", memory)
    whole, pruned = residual()
    seen: list[int] = []
    real = paired_rows.PairedRows.of_site

    def spy(self: paired_rows.PairedRows, number: int) -> Iterable[paired_rows.Rows | None]:
        yield from real(self, number)
        seen.append(len(self._held))

    monkeypatch.setattr(paired_rows.PairedRows, "of_site", spy)
    before = distance(whole, pruned, data(1, 4, 6, 6))
    refit(pruned, whole, {}, data(1, 4, 6, 6))
    assert seen == [samples] * 2
    assert distance(whole, pruned, data(1, 4, 6, 6)) < before


def test_a_gram_matrix_too_large_leaves_the_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "MEMORY", 1)
    whole, pruned = dependent()
    assert [d.got for d in refit(pruned, whole, kept(), data(1, 3, 6, 6)).details] == ["bias"]


def test_the_same_seed_gives_the_same_weights() -> None:
    found = []
    for seed in (0, 0, 1):
        whole, pruned = residual()
        refit(pruned, whole, {}, data(1, 4, 6, 6), positions=8, seed=seed)
        found.append(elements(pruned, "q").tobytes())
    assert found[0] == found[1] != found[2]
