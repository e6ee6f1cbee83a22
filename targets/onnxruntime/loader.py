"""What a bundle's own loader needs to open a session with the artifact's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tamis.compiler.loader.loader_source import LoaderSource, joined
from tamis.targets.onnxruntime.settings import Settings

PARTS = (
    "tamis.targets.hardware.cpu_limits",
    "tamis.targets.links.onnx_session",
    "tamis.targets.onnxruntime.bundle_session",
)
LEVELS = {
    "ORT_DISABLE_ALL": 0,
    "ORT_ENABLE_BASIC": 1,
    "ORT_ENABLE_EXTENDED": 2,
    "ORT_ENABLE_LAYOUT": 3,
    "ORT_ENABLE_ALL": 99,
}
"""Values of ``GraphOptimizationLevel`` in ONNX Runtime's C API."""


def loader_source(settings: Settings) -> LoaderSource:
    """See ``Runtime.loader_source``."""
    data: dict[str, Any] = settings.session_data()
    providers: list[Any] = [[p, {}] if isinstance(p, str) else list(p) for p in settings.session_providers()]
    return LoaderSource(joined(PARTS), {**data, "providers": providers}, _lines(data, providers[0][0]))


def _lines(data: Mapping[str, Any], provider: str) -> tuple[str, ...]:
    entries = (f"entry {key} {value}" for key, value in sorted(data["entries"].items()))
    return (
        "runtime onnxruntime",
        f"provider {provider}",
        f"threads {data['threads']}",
        f"optimization {LEVELS[data['graph_optimization']]}",
        *entries,
    )
