"""The committed digit networks are valid, small and right about the digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.zoo.mnist import entries
from benchmarks.zoo.mnist.digits import digits
from benchmarks.zoo.onnx_session import session

FOLDER = Path(entries.__file__).parent
COMMITTED = ("lstm", "small")


def test_exactly_these_networks_are_committed_and_stay_small() -> None:
    files = sorted(FOLDER.glob("*.onnx"))
    assert [path.stem for path in files] == list(COMMITTED)
    assert sum(path.stat().st_size for path in files) < 400_000


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_networks_are_valid_and_take_any_batch(name: str) -> None:
    path = FOLDER / f"{name}.onnx"
    onnx.checker.check_model(path, full_check=True)
    x = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    run = session(path)
    (together,) = run.run(None, {"x": x})
    apart = np.concatenate([run.run(None, {"x": x[i : i + 1]})[0] for i in range(3)])
    assert together.shape == (3, 10)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)


def test_batch_normalization_is_left_to_the_compiler() -> None:
    operators = [node.op_type for node in onnx.load(FOLDER / "small.onnx").graph.node]
    assert operators.count("BatchNormalization") == operators.count("Conv") == 7


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("small", 0.96), ("lstm", 0.94)])
def test_committed_networks_know_the_digits(name: str, least: float) -> None:
    _, evaluation = digits()
    (logits,) = session(FOLDER / f"{name}.onnx").run(None, {"x": evaluation.images})
    assert (logits.argmax(1) == evaluation.labels).mean() >= least
