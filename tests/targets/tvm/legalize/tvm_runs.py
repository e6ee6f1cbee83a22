"""Runs models in TVM: reads ``NAME.onnx`` and ``NAME.npz`` of a folder, writes ``NAME.out.npz`` or ``NAME.error``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tamis.targets.tvm.child_main import leave_out_unused, message_of


def flat(result: Any) -> list[Any]:
    """The arrays of what a Relax function returns."""
    return [result.numpy()] if hasattr(result, "numpy") else [array for part in result for array in flat(part)]


def run(path: Path) -> list[Any]:
    """Import, build and run one model."""
    import tvm
    from tvm import relax

    from tamis.targets.tvm.importing import import_model

    module = relax.transform.DecomposeOpsForInference()(import_model(path, lambda report: None))
    executable = relax.build(module, tvm.target.Target({"kind": "llvm", "num-cores": 1}))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    feeds = np.load(path.with_suffix(".npz"))
    return flat(machine["main"](*[tvm.runtime.tensor(feeds[name]) for name in feeds.files]))


def main(folder: Path) -> None:
    """Run all models of ``folder``."""
    leave_out_unused()
    for path in sorted(folder.glob("*.onnx")):
        try:
            outputs = {f"{i:02}": array for i, array in enumerate(run(path))}
        except Exception as error:  # noqa: BLE001  (whatever TVM raises is the test's to show)
            path.with_suffix(".error").write_text(f"{type(error).__name__}: {message_of(error)}")
        else:
            np.savez(path.with_suffix(".out.npz"), **outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
