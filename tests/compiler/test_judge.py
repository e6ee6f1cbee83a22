"""What the judge tells of candidates: measured on the target, after the runtime's legalization, decided once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.digest import model_digest
from tamis.compiler.judge import Judge
from tamis.compiler.machine import find_machine
from tamis.compiler.recipe import AccuracyBudget
from tamis.compiler.registry import runtime_class
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.target import Target
from tamis.compiler.tuning_database import TuningDatabase
from tamis.compiler.verify import Verifier
from tests import models

SLOPED = "g (float[1, 16, 24, 24] x) => (float[1, 16, 24, 24] y) <float[1, 16, 24, 24] z> { z = Conv<pads=[1, 1, 1, 1]>(x, w) y = PRelu(z, s) }"


def sloped(gain: float = 1.0) -> ir.Model:
    """A convolution and a PRelu, which the runtime's legalization writes in another form."""
    weights = models.random(16, 16, 3, 3) * gain
    return models.model(
        SLOPED, 17, w=weights.astype(np.float32), s=np.linspace(0.1, 0.4, 16, dtype=np.float32)[:, None, None]
    )


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Judge]:
    feeds = {"x": models.random(1, 16, 24, 24, seed=1)}
    target = Target("host", find_machine("host"), runtime_class("onnxruntime")())
    verifier = Verifier(load_unoptimized, sloped(), [feeds])
    with TuningDatabase(tmp_path / "tuning.sqlite") as database:
        yield Judge(target, verifier, feeds, AccuracyBudget(min_sqnr=20.0), None, None, database, quiet=True)


def test_noise_is_told_against_the_model_as_given(judge: Judge) -> None:
    assert judge.min_sqnr == 20.0
    assert judge.sqnr_db(sloped()) > 100
    assert judge.sqnr_db(sloped(1.1)) == pytest.approx(20.0, abs=0.1)


def test_a_model_that_fails_has_no_signal(judge: Judge) -> None:
    failing = models.model(
        "g (float[1, 16, 24, N] x) => (float[5, 5] y) { s = Constant<value_ints=[5, 5]>() y = Reshape(x, s) }"
    )
    assert judge.sqnr_db(failing) == -np.inf


def test_without_labels_there_is_no_drop(judge: Judge) -> None:
    assert judge.drop(sloped()) is None
    assert judge.max_drop is None


def test_legalization_is_applied_to_a_clone(judge: Judge) -> None:
    given = sloped()
    digest = model_digest(given)
    legalized = judge.legalized(given)
    assert "PRelu" not in {node.op_type for node in legalized.graph}
    assert model_digest(given) == digest


def test_speed_is_that_of_the_legalized_models(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[set[str]] = []
    original = type(judge.target.runtime).load_model

    def load_model(self: object, model: ir.Model, **how: bool) -> object:
        loaded.append({node.op_type for node in model.graph})
        return original(self, model, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(type(judge.target.runtime), "load_model", load_model)
    judge.speedup(sloped(), sloped(), 0.05)
    assert loaded and not any("PRelu" in operators for operators in loaded)
    loaded.clear()
    judge.speedup(sloped(), sloped(), 0.05, legalize=False)
    assert loaded and all("PRelu" in operators for operators in loaded)


def test_kernels_are_timed_by_the_names_of_nodes(judge: Judge) -> None:
    model = sloped()
    model.graph[0].name = "the_conv"
    times = judge.kernel_times(model, 0.1)
    assert any("the_conv" in time.covers and time.nanoseconds > 0 for time in times), times


def test_a_decision_is_taken_once(judge: Judge) -> None:
    taken: list[int] = []

    def decide() -> dict[str, int]:
        taken.append(1)
        return {"answer": len(taken)}

    first = judge.decide("mix", {"model": "a"}, decide)
    assert judge.decide("mix", {"model": "a"}, decide) == first == {"answer": 1}
    assert judge.decide("mix", {"model": "b"}, decide) == {"answer": 2}
