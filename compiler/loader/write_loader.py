"""Write the loader into a finished bundle: ``tamis_bundle.py``, which runs it without tamis."""

from __future__ import annotations

from pathlib import Path
from pprint import pformat
from string import Template

from tamis.compiler.bundle import MANIFEST, file_record, open_bundle
from tamis.compiler.errors import UsageError
from tamis.compiler.loader.loader_source import LoaderSource, joined
from tamis.compiler.registry import runtime_class

LOADER = "tamis_bundle.py"
PARTS = ("tamis.compiler.loader.bundle_files", "tamis.compiler.loader.bundle_module")
HEAD = '''"""Runs the bundle in this folder; written by tamis, which it does not need. NumPy and the bundle's runtime are enough.

    from tamis_bundle import load
    run = load()
    outputs = run({"x": array})

``python tamis_bundle.py --verify`` checks the bundle on this machine.
"""

from __future__ import annotations

'''
TAIL = Template('''


SETTINGS = $settings
LINES = $lines
HOME = Path(__file__).resolve().parent


def load(folder: str | Path = HOME, *, check: bool = True) -> LoadedBundle:
    """Load the bundle in ``folder``; ``check`` compares its files with their digests.

    Raises:
        LoaderError: The bundle is damaged, not for this machine, or its runtime is not installed.
    """
    return LoadedBundle(Path(folder), lambda path: opened(path, SETTINGS), check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], HOME, lambda path: opened(path, SETTINGS), LINES))
''')


def add_loader(folder: Path) -> None:
    """Write the loader into the bundle in ``folder`` and its digest into the manifest.

    Raises:
        UsageError: The bundle's runtime has no loader for such artifacts.
        BundleError: Not a bundle.
    """
    bundle = open_bundle(folder, check=False)
    runtime = bundle.report.target.runtime
    source = runtime_class(runtime).loader_source(bundle.artifact)
    if source is None:
        raise UsageError(
            f"runtime {runtime} has no loader for this bundle",
            where=f"target {bundle.report.target.name}",
            fix="leave --with-loader out, and use tamis.load",
        )
    (folder / LOADER).write_text(loader_text(source), encoding="utf-8")
    files = {**bundle.report.files, LOADER: file_record(folder / LOADER)}
    manifest = bundle.report.model_copy(update={"files": files})
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def loader_text(source: LoaderSource) -> str:
    """The whole module; the same source gives the same text."""
    tail = TAIL.substitute(settings=pformat(dict(source.settings), width=110), lines=pformat(source.lines, width=110))
    return HEAD + joined(PARTS) + "\n\n\n" + source.text + tail
