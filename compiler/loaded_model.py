"""A bundle loaded for inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tamis.compiler.bundle import MANIFEST, Bundle, open_bundle
from tamis.compiler.errors import BundleError, TargetUnavailableError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.link import HERE
from tamis.compiler.manifest import Manifest
from tamis.compiler.registry import runtime_class
from tamis.compiler.target import Runtime


class LoadedModel:
    """Call it with a dict of arrays, get a dict of arrays.

    Attributes:
        input_names, output_names: In graph order.
        report: The manifest of the bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        runtime = bundle_runtime(bundle)
        self._bundle = bundle  # keeps the unpacked files of a zip alive
        self._runner = runtime.deploy(bundle.folder, bundle.artifact)
        self.input_names: tuple[str, ...] = tuple(self._runner.input_names)
        self.output_names: tuple[str, ...] = tuple(self._runner.output_names)

    @property
    def report(self) -> Manifest:
        """What was done to the model, with verdicts and figures."""
        return self._bundle.report

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Args:
            feeds: Input name -> array of the input's dtype and shape.

        Raises:
            DataError: An input is missing, unknown, or of the wrong dtype or shape.
            RuntimeFailureError: The runtime failed.
        """
        return self._runner(feeds)


def bundle_runtime(bundle: Bundle) -> Runtime[Any]:
    """The runtime that a bundle needs, with the bundle's options.

    Raises:
        BundleError: The manifest's options are not the runtime's.
        TargetUnavailableError: It is not installed, or cannot serve the bundle's machine from here.
    """
    record = bundle.report.target
    cls = runtime_class(record.runtime)
    try:
        options = cls.options_type.model_validate(record.options)
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(
            f"{MANIFEST} has options that are not those of runtime {record.runtime}",
            where=str(bundle.path),
            found=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            fix="build the bundle again",
        ) from error
    runtime = cls(options, record.link if record.link.kind == "qemu" else HERE)
    reason = runtime.unavailable(record.machine)
    if reason is not None:
        raise TargetUnavailableError(reason, where=str(bundle.path))
    return runtime


def load_bundle(path: Path) -> LoadedModel:
    """Open a bundle, check its digests and load it."""
    return LoadedModel(open_bundle(path))
