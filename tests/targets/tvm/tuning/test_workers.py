"""Candidates that crash, hang or lie are failed trials, and the next one is measured as if nothing had been."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tamis.targets.tvm.tuning.builder import Builder, Built
from tamis.targets.tvm.tuning.runner import Runner
from tamis.targets.tvm.tuning.workers import Nursery

PLANTED = "tests.targets.tvm.tuning.planted_worker"


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery([PLANTED]) as found:
        yield found


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("crash.so", "crashed"),
        ("hang.so", "took longer than 1 s"),
        ("raise.so", "RuntimeError: main"),
        ("nan.so", "a time of nan us"),
        ("zero.so", "a time of 0.0 us"),
        ("negative.so", "a time of -3.0 us"),
        ("wrong.so", "computes something else than the first schedule"),
    ],
)
def test_a_bad_candidate_is_a_failed_trial(name: str, error: str, nursery: Nursery, tmp_path: Path) -> None:
    with Runner(nursery, seconds=1, module=PLANTED) as runner:
        found = runner.measure(Built(Path(name)), tmp_path / "reference.npz")
        assert found.error is not None and error in found.error
        assert found.us == float("inf")
        assert runner.measure(Built(Path("good.so")), tmp_path / "reference.npz").us == 12.5


def test_another_order_of_sums_is_no_failure(nursery: Nursery, tmp_path: Path) -> None:
    with Runner(nursery, module=PLANTED) as runner:
        assert runner.measure(Built(Path("right.so")), tmp_path / "reference.npz").us == 12.5


def test_what_was_not_built_is_not_measured(nursery: Nursery, tmp_path: Path) -> None:
    with Runner(nursery, module=PLANTED) as runner:
        assert runner.measure(Built(Path("good.so"), error="no"), tmp_path / "reference.npz").error == "no"


def test_builds_that_fail_leave_the_others_alone(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["good", "crash", "hang", "good", "raise", "good"]
    monkeypatch.setattr("tamis.targets.tvm.tuning.builder.FIRST_SECONDS", 2.0)
    with Builder(nursery, {}, tmp_path, workers=2, seconds=2, module=PLANTED) as builder:
        monkeypatch.setattr(builder, "_path", lambda number: tmp_path / f"{names[number - 1]}.so")
        numbers = [builder.submit("{}") for _ in names]
        done = builder.finish()
    assert [done[n].error for n in numbers] == [
        None, "crashed", "took longer than 2 s", None, "RuntimeError: main", None
    ]  # fmt: skip
    assert done[numbers[0]].arguments == (["float32", [1]],)


def test_an_optional_build_gets_less_time_than_the_others(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tamis.targets.tvm.tuning.builder.LEAST_SECONDS", 0.5)
    names = ["hang", "good", "good", "hang", "good"]
    monkeypatch.setattr("tamis.targets.tvm.tuning.builder.FIRST_SECONDS", 2.0)
    with Builder(nursery, {}, tmp_path, workers=1, seconds=2, module=PLANTED) as builder:
        monkeypatch.setattr(builder, "_path", lambda number: tmp_path / f"{names[number - 1]}.so")
        numbers = [builder.submit("{}", optional=place in (0, 3)) for place in range(len(names))]
        done = builder.finish()
    assert [done[n].error for n in numbers] == ["took longer than 2 s", None, None, "took longer than 0.5 s", None]


def test_a_candidate_may_take_as_long_as_the_best_one_makes_likely(nursery: Nursery, tmp_path: Path) -> None:
    with Runner(nursery, module=PLANTED, least_seconds=0.4) as runner:
        began = time.monotonic()
        found = runner.measure(Built(Path("hang.so")), tmp_path / "reference.npz", best_us=100.0)
        assert found.error == "took longer than 0.5 s"
        assert time.monotonic() - began < 5


def test_a_time_is_told_by_the_best_ones_at_the_same_time(nursery: Nursery, tmp_path: Path) -> None:
    """The planted worker says that the best library takes 25 us now; the candidate takes 12.5."""
    with Runner(nursery, module=PLANTED) as runner:
        reference = tmp_path / "reference.npz"
        best = Built(Path("best.so"))
        assert runner.measure(Built(Path("good.so")), reference, best_us=100.0, best=best).us == 50.0
        assert runner.measure(Built(Path("good.so")), reference, best_us=100.0).us == 12.5
