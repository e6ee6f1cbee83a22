"""Write ``model.onnx``, a network of a few kilobytes, for the examples of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
example (float[1, 3, 8, 8] x) => (float[1, 4] y)
{
  c = Conv<pads = [1, 1, 1, 1]>(x, W)
  r = Relu(c)
  p = GlobalAveragePool(r)
  y = Flatten(p)
}
"""


def main() -> None:
    """Write it into the folder that is given, by default the one at hand."""
    model = parser.parse_model(TEXT)
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "W"))
    onnx.save(model, Path(*sys.argv[1:2]) / "model.onnx")


if __name__ == "__main__":
    main()
