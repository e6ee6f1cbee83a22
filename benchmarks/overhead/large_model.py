"""Peak memory of a compile of a model with 2 GB of external weights that no pass touches.

Goal: below 1.3 times the model's size. The compile runs in a child process of its own; its peak is read
from the operating system (``ru_maxrss``: file-backed pages that are mapped count too).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir

LAYERS = 16
SIZE = 5656  # 16 x 5656 x 5656 x 4 bytes = 2.05 GB


def write_model(folder: Path) -> Path:
    """MatMul by sixteen [5656, 5656] float32 matrices, all in one external file."""
    x = ir.Value(name="x", shape=ir.Shape((1, SIZE)), type=ir.TensorType(ir.DataType.FLOAT))
    random, body, weights, last, offset = np.random.default_rng(0), [], [], x, 0
    with (folder / "weights.bin").open("wb") as file:
        for i in range(LAYERS):
            array = random.standard_normal((SIZE, SIZE), np.float32) / np.float32(np.sqrt(SIZE))
            array.tofile(file)
            tensor = ir.ExternalTensor(
                "weights.bin",
                offset,
                array.nbytes,
                ir.DataType.FLOAT,
                name=f"w{i}",
                shape=ir.Shape((SIZE, SIZE)),
                base_dir=folder,
            )
            offset += array.nbytes
            weight = ir.Value(name=f"w{i}", const_value=tensor, shape=tensor.shape, type=x.type)
            weights.append(weight)
            body.append(ir.node("MatMul", [last, weight]))
            last = body[-1].outputs[0]
    last.name, last.shape, last.type = "y", ir.Shape((1, SIZE)), x.type
    graph = ir.Graph([x], [last], nodes=body, initializers=weights, opset_imports={"": 17}, name="large")
    path = folder / "large.onnx"
    ir.save(ir.Model(graph, ir_version=9), path)
    return path


def child(path: Path, out: Path) -> None:
    """Compile and print the peak resident size in bytes."""
    import tamis

    os.environ |= {"TAMIS_CACHE": "on", "TAMIS_CACHE_DIR": str(out.parent / "cache")}
    tamis.compile(path, "lossless", out=out)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Print peak memory over model size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_model(folder)
        size = sum(p.stat().st_size for p in folder.iterdir())
        command = [sys.executable, "-m", "benchmarks.overhead.large_model", str(path), str(folder / "out")]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"compile of {size / 1e9:.2f} GB: peak {peak / 1e9:.2f} GB = {peak / size:.2f} x its size (goal: < 1.3)")


if __name__ == "__main__":
    child(Path(sys.argv[1]), Path(sys.argv[2]))
