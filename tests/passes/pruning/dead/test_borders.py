from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tamis.passes.pruning.dead.borders import is_padded, padded_taps
from tests.models import model, random, run

CASES = list(product((5, 7), (1, 2, 3), ((0, 0), (1, 0), (0, 2), (1, 1)), (1, 2, 3), (1, 2)))


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_taps_that_read_padding_are_those_without_which_an_output_of_ones_is_smaller(kernel: int) -> None:
    for size, _, pads, stride, dilation in CASES:
        if size + sum(pads) < (kernel - 1) * dilation + 1:
            continue
        attributes = f"pads = [{pads[0]}, {pads[1]}], strides = [{stride}], dilations = [{dilation}]"
        text = f"g (float[1, 1, {size}] x) => (float[1, {kernel}, L] y) {{ y = Conv<{attributes}>(x, w) }}"
        taps = np.eye(kernel, dtype=np.float32).reshape(kernel, 1, kernel)  # each output channel has one tap
        found = model(text, w=taps)
        node = next(iter(found.graph))
        outputs = run(found, {"x": np.ones((1, 1, size), np.float32)})[0]
        assert padded_taps(node, (kernel,)).tolist() == (outputs[0].min(axis=1) == 0).tolist(), attributes
        assert is_padded(node) == any(pads)


def test_unknown_sizes_may_meet_any_padding() -> None:
    text = "g (float[1, 1, H, V] x) => (float[1, 1, A, B] y) { y = Conv<pads = [0, 1, 0, 0]>(x, w) }"
    node = next(iter(model(text, w=random(1, 1, 2, 2)).graph))
    assert padded_taps(node, (2, 2)).all()
