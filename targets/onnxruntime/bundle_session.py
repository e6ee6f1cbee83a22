"""The part of a bundle's own loader that opens a model by ONNX Runtime; needs NumPy and ``onnxruntime``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tamis.targets.hardware.cpu_limits import usable_threads
from tamis.targets.links.onnx_session import DTYPES, session_options


class BundleSession:
    """Call it with a dict of arrays, get a dict of arrays.

    Args:
        path: The model.
        settings: As ``session_options`` takes them, and ``providers``, the preferred one first: each a name and a mapping
            of options. No more threads are used than this process may.

    Raises:
        Exception: ONNX Runtime refuses the model.
        RuntimeError: The provider does not start: ONNX Runtime itself would go on with the CPU.
    """

    def __init__(self, path: str, settings: Mapping[str, Any]) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        options = session_options(onnxruntime, {**settings, "threads": min(settings["threads"], usable_threads())})
        providers = [(name, dict(chosen)) for name, chosen in settings["providers"]]
        if providers[0][0] != "CPUExecutionProvider":
            onnxruntime.preload_dlls()
        self._session = onnxruntime.InferenceSession(path, options, providers=providers, enable_fallback=0)
        if providers[0][0] not in (running := self._session.get_providers()):
            raise RuntimeError(f"{providers[0][0]} does not start; the session would run on {', '.join(running)}")
        self.inputs: tuple[tuple[str, str | None, tuple[int | str | None, ...]], ...] = tuple(
            (i.name, DTYPES.get(i.type), tuple(i.shape)) for i in self._session.get_inputs()
        )
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run once. Raises what ONNX Runtime raises."""
        return dict(zip(self.outputs, self._session.run(None, dict(feeds)), strict=True))


def opened(path: str, settings: Mapping[str, Any]) -> BundleSession:
    """The model at ``path``."""
    return BundleSession(path, settings)
