"""Builds the tests' libraries in a process of its own: ``build_libraries.py MODEL OUT``.

``OUT`` gets ``x86-64.so``, ``prepacked.so`` (weights reordered when it is loaded) and ``aarch64.so``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tamis.targets.tvm.child_main import leave_out_unused

leave_out_unused()

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from tamis.targets.tvm.export import export_library

R = relax.transform
PREPACK = (
    relax.get_pipeline("zero"),
    R.AttachAttrLayoutFreeBuffers(),
    R.SplitLayoutRewritePreproc(),
    R.LiftTransformParams(),
    R.FoldConstant(),
)
KINDS = {
    "x86-64": ("x86_64-linux-gnu", "x86-64-v3", ()),
    "prepacked": ("x86_64-linux-gnu", "x86-64-v3", PREPACK),
    "aarch64": ("aarch64-linux-gnu", "cortex-a53", ()),
}


def main() -> None:
    """Build all."""
    model, out = onnx.load(sys.argv[1]), Path(sys.argv[2])
    for name, (triple, cpu, passes) in KINDS.items():
        target = tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": cpu, "num-cores": 2})
        module = R.DecomposeOpsForInference()(from_onnx(model, keep_params_in_input=False))
        with target:
            module = tvm.transform.Sequential(list(passes))(module)
        export_library(relax.build(module, target), out / f"{name}.so", triple)


if __name__ == "__main__":
    main()
