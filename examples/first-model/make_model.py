"""Write a small classifier of stripe directions and labelled images for it.

The filters are cosine and sine waves in four directions; the energy of their responses tells the direction of
the stripes. Nothing is trained, so the files are the same on every machine.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

SIZE = 32
DIRECTIONS = np.pi * np.arange(4) / 4
WAVES_PER_PIXEL = 0.2


def phase(rows: np.ndarray, columns: np.ndarray, direction: float) -> np.ndarray:
    """Phase of a wave in ``direction`` (radians) at pixel positions."""
    return 2 * np.pi * WAVES_PER_PIXEL * (columns * np.cos(direction) + rows * np.sin(direction))


def filters() -> np.ndarray:
    """Two filters a direction, shape (8, 1, 9, 9)."""
    rows, columns = np.mgrid[-4:5, -4:5]
    window = np.exp(-(rows**2 + columns**2) / 10)
    waves = [wave(phase(rows, columns, d)) * window for d in DIRECTIONS for wave in (np.cos, np.sin)]
    return np.stack([w - w.mean() for w in waves])[:, None]


def model() -> ir.Model:
    """Conv, BatchNormalization, energy, average, Gemm; input x: (N, 1, 32, 32), output y: (N, 4)."""
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=("N", 1, SIZE, SIZE))
    y = ir.val("y", dtype=ir.DataType.FLOAT, shape=("N", 4))
    tape = Tape()
    arrays = {
        "filters": filters(),
        "scale": np.full(8, 0.5),
        "shift": np.zeros(8),
        "mean": np.zeros(8),
        "variance": np.full(8, 2.0),
        "pairs": np.repeat(np.eye(4), 2, axis=0),
        "bias": np.zeros(4),
    }
    w = {name: tape.initializer(ir.tensor(array.astype(np.float32), name=name)) for name, array in arrays.items()}
    response = tape.op("Conv", [x, w["filters"]], {"pads": [4, 4, 4, 4]}, name="filter")
    normal = tape.op(
        "BatchNormalization", [response, w["scale"], w["shift"], w["mean"], w["variance"]], name="normalize"
    )
    energy = tape.op("GlobalAveragePool", [tape.op("Mul", [normal, normal], name="square")], name="average")
    features = tape.op("Flatten", [energy], name="flatten")
    tape.op("Gemm", [features, w["pairs"], w["bias"]], name="add-pairs", output=y)
    graph = ir.Graph([x], [y], nodes=tape.nodes, initializers=tape.initializers, opset_imports={"": 17}, name="stripes")
    return ir.Model(graph, ir_version=8)


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy stripes, shape (count, 1, 32, 32), and their directions, shape (count,)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(DIRECTIONS), count)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    shifts = random.uniform(0, 2 * np.pi, count)
    clean = [np.cos(phase(rows, columns, DIRECTIONS[k]) + s) for k, s in zip(labels, shifts, strict=True)]
    noisy = np.stack(clean) + random.normal(scale=4.5, size=(count, SIZE, SIZE))
    return noisy[:, None].astype(np.float32), labels


def main() -> None:
    """Write model.onnx, calibration.npz, evaluation.npz and sample.npz into the current folder."""
    ir.save(model(), "model.onnx")
    np.savez("calibration.npz", x=images(32, seed=1)[0])
    x, labels = images(200, seed=2)
    np.savez("evaluation.npz", x=x, labels=labels)
    np.savez("sample.npz", x=x[:1])


if __name__ == "__main__":
    main()
