"""What differs between the steps of two recipes, and between what they did."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tamis.compiler.diffing.change import Change, tree_changes
from tamis.compiler.manifest import StepRecord

FIGURES = (
    "verdict",
    "reason",
    "contract",
    "counts",
    "nodes_before",
    "nodes_after",
    "sqnr_db",
    "metric",
    "tolerance_needed",
    "adversarial_needed",
    "skips",
)


def recipe_step_changes(a: Sequence[Any], b: Sequence[Any]) -> Iterator[Change]:
    """Steps that were added or removed, and options that differ; steps are matched by name, in their order."""
    first, second = [_named(s) for s in a], [_named(s) for s in b]
    for i, j, name in _matched([n for n, _ in first], [n for n, _ in second]):
        if i is None or j is None:
            yield Change("recipe", f"step {name}", _presence(i), _presence(j))
        else:
            yield from tree_changes("recipe", first[i][1], second[j][1], name)


def step_record_changes(a: Sequence[StepRecord], b: Sequence[StepRecord]) -> Iterator[Change]:
    """Verdicts, counts and figures of steps that both have, and the steps that only one has."""
    for i, j, name in _matched([s.name for s in a], [s.name for s in b]):
        if i is None or j is None:
            only = a[i] if i is not None else b[j or 0]
            yield Change("steps", name, only.verdict if j is None else None, only.verdict if i is None else None)
            continue
        one, two = (s.model_dump(mode="json", include=set(FIGURES)) for s in (a[i], b[j]))
        yield from tree_changes("steps", one, two, name)


def _named(step: Any) -> tuple[str, Any]:
    if isinstance(step, Mapping) and len(step) == 1:
        name, options = next(iter(step.items()))
        return str(name), options or {}
    return str(step), {}


def _presence(index: int | None) -> str | None:
    return None if index is None else f"at place {index + 1}"


def _matched(a: list[str], b: list[str]) -> Iterator[tuple[int | None, int | None, str]]:
    """Places of equal names in both, in order; None where a name is not."""
    for kind, i, to_i, j, to_j in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from ((i + k, j + k, a[i + k]) for k in range(to_i - i))
        else:
            yield from ((k, None, a[k]) for k in range(i, to_i))
            yield from ((None, k, b[k]) for k in range(j, to_j))
