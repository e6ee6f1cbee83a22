"""Everything that differs between two bundles, in the order in which a reviewer asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tamis.compiler.budget import MB
from tamis.compiler.bundle import Bundle, open_bundle
from tamis.compiler.diffing.change import Change, tree_changes
from tamis.compiler.diffing.layer_changes import layer_changes
from tamis.compiler.diffing.step_changes import recipe_step_changes, step_record_changes

COVERED = {
    "files", "golden", "source", "recipe", "target", "steps", "versions", "tamis", "sqnr_db", "accuracy", "drift"
}  # fmt: skip
"""Parts of the manifest that have a section of their own."""


def diff_bundles(a: Path, b: Path) -> tuple[Change, ...]:
    """What changed from bundle ``a`` to bundle ``b``; nothing if they are the same, byte for byte.

    ``measurements.json``, which differs from build to build, counts only where something else does.

    Raises:
        BundleError: Not a bundle, or damaged.
    """
    return bundle_changes(open_bundle(a), open_bundle(b))


def bundle_changes(a: Bundle, b: Bundle) -> tuple[Change, ...]:
    """See ``diff_bundles``."""
    if a.report == b.report:
        return ()
    one, two = (bundle.report.model_dump(mode="json") for bundle in (a, b))
    found = [*_causes(a, b, one, two), *step_record_changes(a.report.steps, b.report.steps), *layer_changes(a, b)]
    found += _files(a, b)
    found += _figures(a, b, one, two)
    # parts of the manifest without a section are named where nothing else tells of the difference
    found = found or [*tree_changes("manifest", one, two)] or [Change("manifest", "bundle.json", "one", "another")]
    return (*found, *_measured(a, b))


def _causes(a: Bundle, b: Bundle, one: dict[str, Any], two: dict[str, Any]) -> Iterator[Change]:
    recipes = [dict(m["recipe"]) for m in (one, two)]
    yield from recipe_step_changes(recipes[0].pop("passes", None) or [], recipes[1].pop("passes", None) or [])
    yield from tree_changes("recipe", recipes[0], recipes[1])
    yield from tree_changes("sources", one["source"], two["source"])
    yield from tree_changes("versions", _versions(one), _versions(two))
    yield from tree_changes("target", one["target"], two["target"])
    rest = [{k: v for k, v in m.items() if k not in COVERED} for m in (one, two)]
    yield from tree_changes("model", rest[0], rest[1])


def _versions(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest["versions"], "tamis": manifest["tamis"]}


def _files(a: Bundle, b: Bundle) -> Iterator[Change]:
    for name in sorted({*a.report.files, *b.report.files}):
        one, two = a.report.files.get(name), b.report.files.get(name)
        if one != two:
            yield Change("files", name, *(r and f"{r.bytes} bytes, sha256 {r.sha256[:12]}" for r in (one, two)))


def _figures(a: Bundle, b: Bundle, one: dict[str, Any], two: dict[str, Any]) -> Iterator[Change]:
    sizes = [sum(bundle.report.files[f].bytes for f in bundle.report.artifact) / MB for bundle in (a, b)]
    if sizes[0] != sizes[1]:
        yield Change("figures", "size, MB", *sizes)
    for name, what in (("sqnr_db", "SQNR, dB"), ("drift", "drift"), ("accuracy", "accuracy"), ("golden", "golden")):
        yield from tree_changes("figures", one[name], two[name], what)


def _measured(a: Bundle, b: Bundle) -> Iterator[Change]:
    for name, path in (("speedup", ("speedup", "speedup")), ("latency, median ms", ("latency", "p50_ms"))):
        values = [_at(bundle.measurements, path) for bundle in (a, b)]
        if values[0] != values[1]:
            yield Change("figures", f"{name} (as measured when built)", *values)


def _at(data: Mapping[str, Any], path: tuple[str, str]) -> float | None:
    inner = data.get(path[0])
    found = inner.get(path[1]) if isinstance(inner, Mapping) else None
    return float(found) if isinstance(found, int | float) else None
