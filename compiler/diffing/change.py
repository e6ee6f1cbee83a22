"""One thing that differs, and how two trees of data are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "(none)"
LONGEST = 80


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Args:
        section: What it belongs to: recipe, sources, versions, machine, steps, layers ...
        what: Which of them.
        a, b: As data; None where it is absent.
    """

    section: str
    what: str
    a: Any
    b: Any

    def to_dict(self) -> dict[str, Any]:
        """As data, for ``--json``."""
        return {"section": self.section, "what": self.what, "a": self.a, "b": self.b}


def tree_changes(section: str, a: Any, b: Any, at: str = "") -> Iterator[Change]:
    """The leaves that differ, by their paths; of lists the entries at the same place are compared."""
    if a == b and type(a) is type(b):
        return
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            yield from tree_changes(section, a.get(key), b.get(key), f"{at}.{key}" if at else str(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (one, two) in enumerate(zip(a, b, strict=True)):
            yield from tree_changes(section, one, two, f"{at}[{i}]")
    else:
        yield Change(section, at, a, b)


def shown(value: Any) -> str:
    """A value on a part of a line."""
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:.5g}"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
