"""The error tree: every failure that tamis reports, with its stable code and exit status.

::

    TamisError                      T000  exit 5
    ├── UsageError                  T100  exit 2   the command line or an argument is wrong
    │   ├── RecipeError             T101  exit 2   the recipe cannot be read or does not make sense
    │   ├── RegistryError           T102  exit 2   no pass, runtime, machine, metric ... of that name
    │   ├── ModelError              T103  exit 2   the model file cannot be read or is not valid ONNX
    │   ├── DataError               T104  exit 2   samples do not fit the model's inputs
    │   ├── OutputError             T105  exit 2   the output path cannot be written
    │   └── BundleError             T106  exit 2   a bundle is damaged or not a bundle
    ├── PassError                   T200  exit 5   a pass raised something unexpected
    │   ├── PreconditionError       T201  exit 2   the model lacks what the pass needs
    │   └── PostconditionError      T202  exit 3   the pass did not leave what it promised
    ├── VerificationError           T300  exit 3   results differ by more than is allowed
    │   └── ContractViolationError  T301  exit 3   a pass broke its numeric contract
    ├── BudgetMissedError           T400  exit 1   the model compiled but a budget is not met
    ├── TargetUnavailableError      T450  exit 4   machine or runtime cannot be used here
    └── RuntimeFailureError         T500  exit 5   a runtime or the system failed
        ├── LoweringError           T501  exit 5   the runtime refused the compiled model
        ├── TuningError             T502  exit 5   the tuning database or search failed
        └── WriteError              T503  exit 5   the disk filled up or a write failed midway

The command line exits with ``exit_code`` of the error it caught, so the classes and the statuses
agree by construction. ``docs/errors/`` has one page a class, made from these docstrings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

__all__ = [
    "BudgetMissedError",
    "BundleError",
    "ContractViolationError",
    "DataError",
    "LoweringError",
    "ModelError",
    "OutputError",
    "PassError",
    "PostconditionError",
    "PreconditionError",
    "RecipeError",
    "RegistryError",
    "RuntimeFailureError",
    "TamisError",
    "TargetUnavailableError",
    "TuningError",
    "UsageError",
    "VerificationError",
    "WriteError",
    "error_classes",
]


class TamisError(Exception):
    """Root of every error that tamis raises on purpose.

    A message has up to five parts: *where* it happened, what is wrong, what was *expected*, what was
    *found*, and what to do about it (*fix*). ``str(error)`` joins them into one line.

    Args:
        message: What is wrong, in one clause.
        where: Recipe ``file:line:column``, step, pass, node, file or input.
        expected: What would have been right.
        found: What was there instead.
        fix: What the user can do, as an imperative.
    """

    code: ClassVar[str] = "T000"
    exit_code: ClassVar[int] = 5

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.message = message
        self.where = where
        self.expected = expected
        self.found = found
        self.fix = fix
        super().__init__(self._join())

    def _join(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.found is not None:
            text += f"{',' if self.expected is not None else ';'} found {self.found}"
        if self.fix is not None:
            text += f"; {self.fix}"
        return text

    def to_dict(self) -> dict[str, object]:
        """The error as data, for ``--json``."""
        parts = {k: getattr(self, k) for k in ("where", "expected", "found", "fix")}
        return {
            "code": self.code,
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "message": self.message,
            **{k: v for k, v in parts.items() if v is not None},
        }


class UsageError(TamisError):
    """The command line or an argument of the Python API is wrong.

    Nothing was run. Run ``tamis COMMAND --help`` for the arguments of a command.
    """

    code = "T100"
    exit_code = 2


class RecipeError(UsageError):
    """The recipe cannot be read, or does not make sense.

    The message starts with ``file:line:column``. Unknown keys are refused and the nearest known name
    is given, since a misspelt key that is silently dropped would compile something else than was
    asked for.
    """

    code = "T101"


class RegistryError(UsageError):
    """There is no pass, runtime, machine, recipe, metric or data set of that name.

    ``tamis list`` prints the names that exist. A plug-in adds names through the entry-point groups
    ``tamis.passes``, ``tamis.targets``, ``tamis.metrics`` and ``tamis.datasets``.
    """

    code = "T102"


class ModelError(UsageError):
    """The model file cannot be read, or is not a valid ONNX model that tamis can handle.

    Causes: not an ONNX file, a truncated file, external data that is missing, too short or outside
    the model's folder, an opset or IR version out of range, a graph that the ONNX checker refuses.
    """

    code = "T103"


class DataError(UsageError):
    """Samples do not fit the model's inputs.

    Causes: an input that the model does not have, one that is missing, a wrong shape or dtype, NaN
    or infinity, labels of another length than the samples.
    """

    code = "T104"


class OutputError(UsageError):
    """The output path cannot be written: it is not a folder, is not empty, or permission is missing."""

    code = "T105"


class BundleError(UsageError):
    """A bundle is damaged, or the path is not a bundle: a file is missing or its digest differs."""

    code = "T106"


class PassError(TamisError):
    """A pass raised something unexpected. This is a defect of the pass: please report it.

    ``on_violation: skip`` at the step leaves the pass out and goes on.
    """

    code = "T200"


class PreconditionError(PassError):
    """The model lacks what the pass needs (opset, data, static shapes ...); the message says which."""

    code = "T201"
    exit_code = 2


class PostconditionError(PassError):
    """A pass did not leave the model as it promised, or left a model that is not valid ONNX."""

    code = "T202"
    exit_code = 3


class VerificationError(TamisError):
    """Results differ from the expected ones by more than is allowed.

    ``tamis verify`` raises it when golden outputs are not reproduced, ``tamis compare`` when two
    models differ by more than the given tolerance.
    """

    code = "T300"
    exit_code = 3


class ContractViolationError(VerificationError):
    """A pass broke its numeric contract on some input; pass, node and input are named.

    Nothing was written. ``on_violation: skip`` at the step undoes the pass and goes on;
    ``tamis bisect`` finds the node again.
    """

    code = "T301"


class BudgetMissedError(TamisError):
    """The model compiled, but a budget of the recipe is not met.

    The message names the budget, what was wanted and what was reached. The best bundle so far is
    kept beside the output path, which is itself left untouched.
    """

    code = "T400"
    exit_code = 1


class TargetUnavailableError(TamisError):
    """The machine or the runtime of a target cannot be used here; the message has the install hint."""

    code = "T450"
    exit_code = 4


class RuntimeFailureError(TamisError):
    """A runtime or the operating system failed while a model was run."""

    code = "T500"


class LoweringError(RuntimeFailureError):
    """The runtime refused the compiled model when it was lowered or loaded."""

    code = "T501"


class TuningError(RuntimeFailureError):
    """The tuning database cannot be read or written, or the search failed."""

    code = "T502"


class WriteError(RuntimeFailureError):
    """A write failed midway, as on a full disk. Nothing is left at the output path."""

    code = "T503"


def error_classes() -> Iterator[type[TamisError]]:
    """Every class of the tree, root first, in the order of their codes."""
    found: list[type[TamisError]] = []
    todo: list[type[TamisError]] = [TamisError]
    while todo:
        cls = todo.pop()
        found.append(cls)
        todo.extend(cls.__subclasses__())
    yield from sorted(found, key=lambda c: c.code)
