"""A net with channels that others express, for tests of pruning as a whole."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.models import model, random

SEEN = 4
"""Directions that the hidden layer really uses."""


def net(size: int = 8) -> ir.Model:
    """A hidden layer of 32 channels that all lie in a space of few directions, in front of a readout."""
    basis = random(SEEN, 6, 3, 3, seed=1)
    mixing = random(32, SEEN, seed=2)
    return model(
        f"""g (float[1, 6, {size}, {size}] x) => (float[1, 4] y) {{
          a = Conv<pads = [1, 1, 1, 1]>(x, w, b) c = Conv(a, v) d = Relu(c) p = GlobalAveragePool(d)
          f = Flatten(p) y = Gemm(f, u)
        }}""",
        w=np.einsum("ok,kihw->oihw", mixing, basis).astype(np.float32),
        b=random(32, seed=3),
        v=random(16, 32, 1, 1, seed=4),
        u=random(16, 4, seed=5),
    )
