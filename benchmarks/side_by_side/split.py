"""Two halves of an entry's labelled data: one to choose by, one to report.

*selection* is what a method may look at with labels (the accuracy budget of tamis, the accuracy control of a peer);
*test* is what the table shows, and nobody sees it before. The halves are drawn once, by a fixed seed, and share nothing:

- Items that come from one source stay together, see ``TOGETHER``: frames of one clip, one stamp on two grounds. Whole
  sequences (``silero-vad``: a clip of 312 frames) are one item anyway.
- Labels that relate items to each other (``minilm``: similarities of all pairs of texts) are cut in both directions,
  so that pairs across the halves are nobody's. The order of items is kept, since such a matrix is filled above its
  diagonal only.
- Everything else (photos, pages, lines, tones, chords, files, digits) is independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.zoo.folder import write_npz

Arrays = Mapping[str, NDArray[Any]]
SEED = 5
TOGETHER = {"efficientnet-lite0": ((2, 172), (1, 20)), "silero-vad-if": ((39, 468),)}
"""Entry -> runs of (items that belong together, items in all). Stamps come on two grounds each, then photos; frames of
a clip follow each other."""
PAIRED = frozenset({"minilm"})
"""Entries whose row of labels has a column an item."""


def split(name: str, folder: Path, out: Path) -> None:
    """Write ``calibration.npz``, ``selection.npz`` and ``test.npz`` of an entry into ``out``.

    Calibration is cut to as many samples as the entry's recipe uses, so that every method gets the same ones.

    Args:
        name: Of the entry.
        folder: Its folder.
        out: An existing folder.
    """
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    count = recipe["data"]["calibration"]["samples"]
    write_npz(out / "calibration.npz", {k: v[:count] for k, v in _read(folder / "calibration.npz").items()})
    data = _read(folder / "evaluation.npz")
    for half, items in zip(("selection", "test"), halves(name, len(data["labels"])), strict=True):
        part = {k: v[items] for k, v in data.items()}
        if name in PAIRED:
            part["labels"] = part["labels"][:, items]
        write_npz(out / f"{half}.npz", part)


def halves(name: str, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the items of either half, ascending; groups of items are drawn whole.

    Raises:
        ValueError: The entry has another number of items than its groups say.
    """
    runs = TOGETHER.get(name, ((1, count),))
    if sum(total for _, total in runs) != count:
        raise ValueError(f"{name} has {count} items, its groups {sum(total for _, total in runs)}")
    groups: list[NDArray[np.int64]] = []
    for size, total in runs:
        start = sum(len(group) for group in groups)
        groups += list(np.arange(start, start + total).reshape(-1, size))
    order = np.random.default_rng(SEED).permutation(len(groups))
    middle = len(groups) // 2
    first, second = (np.sort(np.concatenate([groups[i] for i in part])) for part in (order[:middle], order[middle:]))
    return first, second


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return {key: file[key] for key in file.files}
