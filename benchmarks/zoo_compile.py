"""Every model of the zoo through the shipped recipe ``lossless``: compile, verify, one row each."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import tamis
from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.fetch import FetchError
from benchmarks.zoo.folder import build
from tamis.compiler.cli.output import table


def main() -> None:
    """Print the table; exit with status 1 if a model that can be had does not compile or verify."""
    rows: list[tuple[str, ...]] = []
    failed = False
    with tempfile.TemporaryDirectory() as name:
        for model in MODULES:
            out = Path(name) / model
            try:
                folder = build(entry(model))
                bundle = tamis.compile(recipe=folder / "recipe.yaml", out=out, force=True)
                replays = tamis.verify(out).replays
            except FetchError as error:
                rows.append((model, "not there", str(error)))
                continue
            except tamis.TamisError as error:
                rows.append((model, "failed", str(error)))
                failed = True
                continue
            made, ratio = bundle.report, bundle.measurements["speedup"]
            accuracy = made.accuracy
            rows.append(
                (
                    model,
                    f"{made.steps[0].nodes_before} -> {made.steps[-1].nodes_after}",
                    f"{ratio['speedup']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}) {ratio['verdict']}",
                    f"{made.drift:.1e}" if made.drift is not None else "",
                    f"{accuracy.metric} {accuracy.before:.4f} -> {accuracy.after:.4f}" if accuracy else "",
                    f"{sum(r.ok for r in replays)} of {len(replays)}",
                )
            )
    table(("model", "nodes", "speedup over ORT_ENABLE_ALL", "drift", "metric", "golden"), rows)
    sys.exit(failed)


if __name__ == "__main__":
    main()
