"""The two halves of the labelled data share nothing, not even a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.side_by_side.split import halves, split
from benchmarks.zoo.folder import write_npz, write_recipe


@pytest.mark.parametrize(("name", "count"), [("ppocr-rec", 200), ("efficientnet-lite0", 192), ("silero-vad-if", 468)])
def test_the_halves_are_disjoint_and_complete(name: str, count: int) -> None:
    first, second = halves(name, count)
    assert sorted([*first, *second]) == list(range(count))
    assert list(first) == sorted(first) and list(second) == sorted(second)
    assert abs(len(first) - len(second)) <= 39


def test_items_of_one_source_stay_together() -> None:
    for name, size, total in (("efficientnet-lite0", 2, 172), ("silero-vad-if", 39, 468)):
        sources = [{int(i) // size for i in half if i < total} for half in halves(name, total + 20 * (size == 2))]
        assert not sources[0] & sources[1]


def test_another_number_of_items_than_the_groups_say_is_refused() -> None:
    with pytest.raises(ValueError, match="has 100 items, its groups 192"):
        halves("efficientnet-lite0", 100)


def test_labels_that_relate_items_are_cut_in_both_directions(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    items = np.arange(50, dtype=np.float32)[:, None]
    write_npz(tmp_path / "calibration.npz", {"x": np.zeros((9, 1), np.float32)})
    write_npz(tmp_path / "evaluation.npz", {"x": items, "labels": np.triu(items @ items.T)})
    write_recipe(tmp_path, {"x": (1, 1)}, "pearson-similarity", 4)
    split("minilm", tmp_path, out)
    assert np.load(out / "calibration.npz")["x"].shape == (4, 1)
    for half in ("selection", "test"):
        with np.load(out / f"{half}.npz") as data:
            assert np.array_equal(data["labels"], np.triu(data["x"] @ data["x"].T))
            assert data["labels"].shape == (25, 25)
