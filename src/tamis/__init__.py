"""tamis: a declarative model compiler.

::

    import tamis

    bundle = tamis.compile("model.onnx", recipe="lossless", out="out/")
    run = tamis.load("out/")
    outputs = run({"x": array})
    tamis.verify("out/")

Importing this module loads neither onnxruntime, nor onnx, nor torch, nor tvm; each function imports
what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.compiler.errors import (
    BudgetMissedError,
    BundleError,
    ContractViolationError,
    DataError,
    LoweringError,
    ModelError,
    OutputError,
    PassError,
    PostconditionError,
    PreconditionError,
    RecipeError,
    RegistryError,
    RuntimeFailureError,
    TamisError,
    TargetUnavailableError,
    TuningError,
    UsageError,
    VerificationError,
    WriteError,
)

if TYPE_CHECKING:
    from tamis.compiler.bundle import Bundle
    from tamis.compiler.loaded_model import LoadedModel
    from tamis.compiler.verify_bundle import BundleReport

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
    "__version__",
    "compile",
    "load",
    "verify",
]

__version__ = "0.1.0"


def compile(
    model: str | Path | None = None,
    recipe: str | Path = "lossless",
    *,
    out: str | Path,
    target: str | None = None,
    data: Mapping[str, str | Path] | None = None,
    set: Mapping[str, Any] | None = None,
    force: bool = False,
    with_loader: bool = False,
    quiet: bool = True,
) -> Bundle:
    """Compile a model by a recipe and write a bundle, unless the bundle that is there is up to date.

    Args:
        model: The ONNX model; None if the recipe names one.
        recipe: Path of a recipe, or the name of a shipped one.
        out: Where the bundle goes: a folder, or a path that ends in ``.zip``.
        target: Compile for this machine instead of the recipe's targets.
        data: ``{"calibration": path, "evaluation": path}`` of npz files, folders or CSV files; relative to the
            working directory.
        set: Overrides, e.g. ``{"passes.quantize-dynamic.weights": "uint8"}``.
        force: Build all of it, even if the bundle is up to date or in the cache.
        with_loader: Add ``tamis_bundle.py`` to the bundle, which runs it without tamis.
        quiet: No progress bars.

    Returns:
        The bundle of the first target; ``bundle.report`` says what was done.

    Raises:
        TamisError: One of its subclasses; see ``tamis.compiler.errors``.
    """
    from tamis.compiler.bundle import open_bundle
    from tamis.compiler.incremental.make import make
    from tamis.compiler.overrides import merge_for

    merged = merge_for(recipe, model=model, target=target, data=data or {}, sets=set or {})
    made = make(merged, Path(out), force=force, loader=with_loader, quiet=quiet)
    return open_bundle(made.paths[0], check=False)


def load(path: str | Path) -> LoadedModel:
    """Load a bundle (folder or zip) for inference.

    Returns:
        A callable: dict of input arrays in, dict of output arrays out.

    Raises:
        BundleError: The bundle is damaged.
        TargetUnavailableError: Its runtime is not installed, or it was built for another kind of machine.
    """
    from tamis.compiler.loaded_model import load_bundle

    return load_bundle(Path(path))


def verify(
    path: str | Path, *, strict: bool = False, model: str | Path | None = None, public_key: str | Path | None = None
) -> BundleReport:
    """Check a bundle on this machine: digests, machine features, golden outputs.

    Args:
        path: The bundle, a folder or a zip file.
        strict: Refuse what is a warning otherwise, and a runtime of another version.
        model: The model as given, to measure the recorded ratio again.
        public_key: Whose signature the bundle must bear: minisign's key file, or the key itself.

    Raises:
        BundleError: A file is missing or changed.
        VerificationError: A golden output is not reproduced, the machine computes 8-bit products otherwise, or the
            signature is missing or wrong.
    """
    from tamis.compiler.verify_bundle import verify_bundle

    return verify_bundle(Path(path), strict=strict, model=None if model is None else Path(model), public_key=public_key)
