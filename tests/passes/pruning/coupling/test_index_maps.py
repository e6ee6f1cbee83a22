"""Index maps of the operators that move positions, against runs on numbered positions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import Array
from tests.passes.pruning.coupling.index_maps import by_rule, by_running, operator


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


Case = tuple[str, tuple[int, ...], int, dict[str, Array]]
CASES: dict[str, Case] = {
    "Concat with a constant": (
        "y = Concat <axis = 1> (k, x, x)",
        (2, 3, 2),
        17,
        {"k": np.zeros((2, 2, 2), np.float32)},
    ),
    "Concat, axis from the back": ("y = Concat <axis = -1> (x, x)", (2, 3), 17, {}),
    "Split, first part": ("y, b = Split <axis = 1> (x, s)", (2, 5), 17, {"s": ints(2, 3)}),
    "Split, last part": ("a, y = Split <axis = -1> (x, s)", (2, 5), 17, {"s": ints(2, 3)}),
    "Split in equal parts": ("a, y = Split <axis = 1> (x)", (2, 6), 17, {}),
    "Split by number, last one smaller": ("a, b, y = Split <axis = 1, num_outputs = 3> (x)", (2, 5), 18, {}),
    "Split with an attribute": ("a, y = Split <axis = 1, split = [1, 4]> (x)", (2, 5), 11, {}),
    "Slice": ("y = Slice (x, s, e, a)", (2, 7), 17, {"s": ints(1), "e": ints(-1), "a": ints(1)}),
    "Slice without axes": ("y = Slice (x, s, e)", (4, 7), 17, {"s": ints(1, 2), "e": ints(100, 5)}),
    "Slice, backwards": (
        "y = Slice (x, s, e, a, t)",
        (2, 7),
        17,
        {"s": ints(-1), "e": ints(-(2**63)), "a": ints(-1), "t": ints(-2)},
    ),
    "Slice, both axes": (
        "y = Slice (x, s, e, a, t)",
        (6, 7),
        17,
        {"s": ints(5, 0), "e": ints(1, 7), "a": ints(0, 1), "t": ints(-1, 3)},
    ),
    "Slice with attributes": ("y = Slice <starts = [1], ends = [-1], axes = [1]> (x)", (2, 7), 9, {}),
    "Gather": ("y = Gather <axis = 1> (x, i)", (2, 5), 17, {"i": ints(4, 0, 0, -2)}),
    "Gather of one": ("y = Gather <axis = 1> (x, i)", (2, 5, 3), 17, {"i": np.array(3, np.int64)}),
    "Gather into a column": ("y = Gather <axis = 1> (x, i)", (2, 5, 3), 17, {"i": ints(1, 3, 0).reshape(3, 1)}),
    "Pad": ("y = Pad (x, p)", (2, 3), 17, {"p": ints(0, 2, 0, 1)}),
    "Pad that crops": ("y = Pad (x, p)", (2, 5), 17, {"p": ints(0, -1, 0, -2)}),
    "Pad that crops and pads": ("y = Pad (x, p)", (2, 5), 17, {"p": ints(0, -2, 0, 3)}),
    "Pad with axes": ("y = Pad (x, p, , a)", (2, 5), 18, {"p": ints(2, 1), "a": ints(-1)}),
    "Pad with attributes": ("y = Pad <pads = [0, 1, 0, 1]> (x)", (2, 5), 10, {}),
    "DepthToSpace, DCR": ("y = DepthToSpace <blocksize = 2> (x)", (1, 12, 2, 2), 17, {}),
    "DepthToSpace, CRD": ('y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)', (1, 12, 2, 2), 17, {}),
    "Tile": ("y = Tile (x, r)", (2, 3), 17, {"r": ints(1, 3)}),
    "Resize": ("y = Resize (x, , s)", (1, 3, 2, 2), 17, {"s": np.array([1, 1, 2, 2], np.float32)}),
    "Resize to sizes": ("y = Resize (x, , , s)", (1, 3, 2, 2), 17, {"s": ints(1, 3, 4, 6)}),
    "Resize with axes": ("y = Resize <axes = [2, 3]> (x, , , s)", (1, 3, 2, 2), 18, {"s": ints(4, 6)}),
    "Upsample": ("y = Upsample (x, s)", (1, 3, 2, 2), 9, {"s": np.array([1, 1, 2, 2], np.float32)}),
    "Expand": ("y = Expand (x, s)", (3, 1), 17, {"s": ints(2, 3, 4)}),
    "Expand to less": ("y = Expand (x, s)", (2, 3, 4), 17, {"s": ints(1, 4)}),
    "Flatten": ("y = Flatten (x)", (2, 3, 4, 2), 17, {}),
    "Flatten, axis from the back": ("y = Flatten <axis = -1> (x)", (2, 3, 4), 17, {}),
    "Flatten to one row": ("y = Flatten <axis = 0> (x)", (2, 3), 17, {}),
    "Reshape that merges": ("y = Reshape (x, s)", (2, 3, 4, 5), 17, {"s": ints(0, -1, 5)}),
    "Reshape that merges all": ("y = Reshape (x, s)", (2, 3, 4), 17, {"s": ints(-1)}),
    "Reshape with ones": ("y = Reshape (x, s)", (2, 1, 4), 17, {"s": ints(2, 4, 1, 1)}),
    "Squeeze": ("y = Squeeze (x, a)", (2, 1, 4, 1), 17, {"a": ints(-1)}),
    "Squeeze of all": ("y = Squeeze (x)", (2, 1, 4, 1), 17, {}),
    "Squeeze with an attribute": ("y = Squeeze <axes = [1]> (x)", (2, 1, 4), 11, {}),
    "Unsqueeze": ("y = Unsqueeze (x, a)", (2, 4), 17, {"a": ints(0, -1)}),
    "Unsqueeze with an attribute": ("y = Unsqueeze <axes = [1]> (x)", (2, 4), 11, {}),
    "channel shuffle": (
        "a = Reshape (x, s) b = Transpose <perm = [0, 2, 1, 3]> (a) y = Reshape (b, t)",
        (2, 6, 3),
        17,
        {"s": ints(0, 2, 3, -1), "t": ints(0, 6, 3)},
    ),
    "channel shuffle of three parts, last axis": (
        "a = Reshape (x, s) b = Transpose <perm = [0, 3, 1, 2]> (a) y = Reshape (b, t)",
        (2, 24),
        17,
        {"s": ints(2, 2, 3, 4), "t": ints(2, -1)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_rule_ties_what_holds_the_same_elements(name: str) -> None:
    call, shape, opset, constants = CASES[name]
    found = operator(call, shape, opset, **constants)
    followed = 0
    for axis in (i for i, size in enumerate(shape) if size > 1):
        ruled, real = by_rule(found, axis), by_running(found, axis)
        for i, places in ruled.items():
            assert real[i] == places
        followed += len(ruled)
    assert followed


def test_space_to_depth() -> None:
    found = operator("y = SpaceToDepth <blocksize = 2> (x)", (1, 3, 4, 4))
    assert by_rule(found, 1) == {1: by_running(found, 1)[1]} == {1: [{0}, {1}, {2}] * 4}
    assert by_rule(found, 2) == by_rule(found, 3) == {}


@pytest.mark.parametrize(("view", "part"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_a_split_follows_the_axis_of_the_view(view: int, part: int) -> None:
    found = operator("y = Reshape (x, s)", (5, 24), s=ints(5, 2, 3, 4))
    assert by_rule(found, 1, view) == {1 + part: by_running(found, 1)[1 + part]}


MIXES: list[tuple[tuple[int, ...], tuple[int, ...], list[list[int]]]] = [
    ((4, 6), (3, 8), [[], []]),
    ((2, 4, 6), (2, 6, 4), [[0], [], []]),
    ((0, 4), (4, 0), [[], []]),
    ((4, 3, 5), (2, 2, 15), [[0], [2], [2]]),
]
"""Sizes before and after, and to which axes each axis goes on."""


@pytest.mark.parametrize(("shape", "target", "goes_on"), MIXES)
def test_what_a_reshape_mixes_is_frozen(
    shape: tuple[int, ...], target: tuple[int, ...], goes_on: list[list[int]]
) -> None:
    found = operator("y = Reshape <allowzero = 1> (x, s)", shape, s=ints(*target))
    assert [list(by_rule(found, i)) for i in range(len(shape))] == goes_on
