"""A bundle that is served: its name, what it takes and gives, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tamis.compiler.bundle import MANIFEST, Bundle, is_bundle, open_bundle
from tamis.compiler.errors import DataError, UsageError
from tamis.compiler.golden import read_golden
from tamis.compiler.loaded_model import LoadedModel
from tamis.compiler.registry import nearest
from tamis.compiler.serving.infer_request import InferRequest, parse_request, render_response
from tamis.compiler.serving.tensors import datatype_of

VERSION = "1"
"""A bundle has one version."""


class ServedModel:
    """One bundle behind the protocol. Calls must not overlap: not every runtime allows it.

    Args:
        name: In the addresses.
        bundle: With checked digests.

    Raises:
        TargetUnavailableError, LoweringError: The bundle cannot be loaded.
        BundleError: It has no golden case that tells the types of its outputs.
        DataError: The protocol lacks the type of an input or output.
    """

    def __init__(self, name: str, bundle: Bundle) -> None:
        self.name = name
        self._run = LoadedModel(bundle)
        report = bundle.report
        self.metadata: dict[str, Any] = {
            "name": name,
            "versions": [VERSION],
            "platform": f"tamis_{report.target.runtime}",
            "inputs": [
                {
                    "name": n,
                    "datatype": datatype_of(t.dtype, f"input {n}"),
                    "shape": [d if isinstance(d, int) else -1 for d in t.shape],
                }
                for n, t in report.inputs.items()
            ],
            "outputs": _outputs(bundle, self._run.output_names),
        }

    def infer(self, body: bytes, header_length: str | None) -> tuple[bytes, int | None]:
        """Answer a request; see ``parse_request`` and ``render_response``.

        Raises:
            DataError: The request does not fit the model.
            RuntimeFailureError: The runtime failed.
        """
        request = parse_request(body, header_length)
        names = self._wanted(request)
        outputs = self._run(request.feeds)
        return render_response(request, self.name, VERSION, {n: outputs[n] for n in names})

    def _wanted(self, request: InferRequest) -> Sequence[str]:
        known = self._run.output_names
        for name in request.outputs:
            if name not in known:
                raise DataError(
                    f"the model has no output {name!r:.100}{nearest(name, known)}",
                    where=self.name,
                    expected=", ".join(known),
                )
        return tuple(request.outputs) or known


def _outputs(bundle: Bundle, names: Sequence[str]) -> list[dict[str, Any]]:
    """Types and ranks from the golden cases; sizes too if no input has a free dimension."""
    shown = read_golden(bundle)[0][1]
    free = bool(bundle.report.dims)
    return [
        {
            "name": n,
            "datatype": datatype_of(shown[n].dtype, f"output {n}"),
            "shape": [-1 if free else d for d in shown[n].shape],
        }
        for n in names
    ]


def load_served(paths: Sequence[Path], name: str | None = None) -> dict[str, ServedModel]:
    """Load bundles, or all bundles of a folder. A model is called like its folder or zip file.

    Args:
        paths: Bundles, or folders of them.
        name: Instead of the name of the only bundle.

    Raises:
        UsageError: Two bundles of one name, or ``name`` for several.
        TamisError: See ``open_bundle`` and ``ServedModel``.
    """
    found = [bundle for path in paths for bundle in _bundles(path)]
    if name is not None and len(found) != 1:
        raise UsageError("names one bundle", where="--name", found=f"{len(found)} bundles", fix="leave it out")
    if name is not None and (not name or "/" in name):
        raise UsageError("is not a name for a model", where="--name", expected="a text without /", found=repr(name))
    models: dict[str, ServedModel] = {}
    for path in found:
        called = name or (path.resolve().name if path.is_dir() else path.stem)
        if called in models:
            raise UsageError("two bundles have one name", where=str(path), found=called, fix="rename one of them")
        models[called] = ServedModel(called, open_bundle(path))
    return models


def _bundles(path: Path) -> list[Path]:
    if path.name == MANIFEST and path.is_file():
        return [path.parent]
    if not path.is_dir() or (path / MANIFEST).is_file():
        return [path]
    inside = sorted(p for p in path.iterdir() if (p / MANIFEST).is_file() or (p.is_file() and is_bundle(p)))
    return inside or [path]
