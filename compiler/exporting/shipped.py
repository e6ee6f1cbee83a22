"""Which files of a bundle are shipped: those that the manifest covers, the manifest and its signature."""

from __future__ import annotations

from pathlib import Path

from tamis.compiler.bundle import MANIFEST, Bundle

SIGNATURE = f"{MANIFEST}.minisig"


def shipped_files(bundle: Bundle) -> dict[str, Path]:
    """Name in the bundle -> file, sorted; ``measurements.json`` stays behind, since it differs from build to build."""
    names = {MANIFEST, *bundle.report.files}
    if (bundle.folder / SIGNATURE).is_file():
        names.add(SIGNATURE)
    return {name: bundle.folder / name for name in sorted(names)}
