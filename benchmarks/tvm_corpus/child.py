"""A process that takes forms of cases through TVM: names come in as lines, outcomes go out as lines of JSON.

The only module here that imports TVM. A form that ends the process costs that form alone: the parent starts another.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from tvm import relax

from benchmarks.corpus.cases import Case
from benchmarks.corpus.judge import differences, suite_difference
from benchmarks.corpus.sessions import CannotFeed
from benchmarks.corpus.steps import StepFailure
from benchmarks.tvm_corpus.cases import form_named
from benchmarks.tvm_corpus.forms import Form, computed, expected, is_plain
from benchmarks.tvm_corpus.normalize import normalized
from tamis.compiler.errors import RuntimeFailureError
from tamis.targets.tvm.child_main import message_of
from tamis.targets.tvm.importing import import_model
from tamis.targets.tvm.pipeline import FRONT, run_phases
from tamis.targets.tvm.settings import Settings

TARGET = {"kind": "llvm", "num-cores": 1}
SETTINGS = Settings(threads=1, prepack=False)


def main() -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the importer prints what it cannot convert
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        for line in sys.stdin:
            stage, reason = attempt(form_named(line.rstrip("\n")), Path(folder) / "model.onnx")
            answers.write(json.dumps({"stage": stage, "reason": reason}) + "\n")
            answers.flush()


def attempt(form: Form, path: Path) -> tuple[str, str]:
    """How far ``form`` comes, and why no further.

    Args:
        form: What to take through TVM.
        path: Where its model may be written.

    Returns:
        ``import``, ``build``, ``run``, ``wrong`` or ``right``; ``no tensors`` for cases of strings, sequences and
        optionals, ``no reference`` if nothing says what is right.
    """
    if not is_plain(form.case):
        return "no tensors", ""
    try:
        case = form.build()
        wanted = expected(form, case)
    except (RuntimeFailureError, CannotFeed, StepFailure) as error:
        return "no reference", str(error)[:200]
    stage = ["import"]
    try:
        onnx.save(normalized(case.model), path)
        module = import_model(path, lambda report: None)
        stage.append("build")
        target = tvm.target.Target(TARGET)
        module = run_phases(module, FRONT, target, SETTINGS, lambda report: None)
        machine = relax.VirtualMachine(relax.build(module, target), tvm.cpu())
        stage.append("run")
        found = [_run(machine, case.sets[0][0])]
    except Exception as error:  # noqa: BLE001  (TVM raises every kind)
        return stage[-1], f"{type(error).__name__}: {message_of(error)}"
    reason = suite_difference(case, wanted, found)
    return ("wrong", reason) if reason and differences(wanted, found) and _differs(case, found) else ("right", "")


def _differs(case: Case, found: list[list[Any]]) -> bool:
    """Whether ONNX Runtime, by which the compiler verifies, computes something else too."""
    try:
        return bool(differences(computed(case), found))
    except (RuntimeFailureError, CannotFeed):
        return True


def _run(machine: Any, fed: Sequence[np.ndarray[Any, Any]]) -> list[Any]:
    arguments = [tvm.runtime.tensor(np.asarray(array, order="C")) for array in fed]
    return _arrays(machine["main"](*arguments))


def _arrays(output: Any) -> list[Any]:
    """Tensors as arrays, tuples flat; the output of a ``Shape`` node is no tensor."""
    if hasattr(output, "numpy"):
        return [output.numpy()]
    if isinstance(output, tvm.runtime.ShapeTuple):
        return [np.array(list(output), np.int64)]
    return [array for item in output for array in _arrays(item)]


if __name__ == "__main__":
    main()
