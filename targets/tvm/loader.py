"""What a bundle's own loader needs to open a library with the artifact's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tamis.compiler.loader.loader_source import LoaderSource, joined

PARTS = ("tamis.targets.links.tvm_library", "tamis.targets.tvm.bundle_library")
NEEDED = ("threads", "inputs", "outputs", "weights")


def loader_source(settings: Mapping[str, Any]) -> LoaderSource | None:
    """See ``Runtime.loader_source``; none for GPUs, whose library is run in another way."""
    if settings.get("gpu"):
        return None
    chosen = {key: settings[key] for key in NEEDED}
    lines = (
        "runtime tvm",
        f"threads {settings['threads']}",
        f"weights {settings['weights']}",
        *(f"input {spec['name']}" for spec in settings["inputs"]),
        *(f"output {name}" for name in settings["outputs"]),
    )
    return LoaderSource(joined(PARTS), chosen, lines)
