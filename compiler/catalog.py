"""Everything that has a name, for ``tamis list`` and ``tamis explain``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.resources import files

from tamis.compiler.errors import TamisError, error_classes
from tamis.compiler.machine import find_machine
from tamis.compiler.registry import lookup, machine_names, pass_class, recipe_names, runtime_class, table, unknown


@dataclass(frozen=True)
class Entry:
    """A name, its one-line summary, and a few facts as columns."""

    name: str
    summary: str
    facts: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """As data, for ``--json``."""
        return asdict(self)


def entries(kind: str) -> list[Entry]:
    """All entries of a kind: passes, targets, recipes, machines, metrics, datasets or errors."""
    return _LISTS[kind]()


def explain(name: str) -> tuple[str, str]:
    """The kind and the page of whatever has this name; error codes in any case (``t301``).

    Raises:
        RegistryError: Nothing has that name; the nearest one is given.
    """
    from tamis.compiler.pages import page

    codes = {e.code: e for e in error_classes()} | {e.__name__: e for e in error_classes()}
    if name.upper() in codes or name in codes:
        return "errors", page("errors", codes[name.upper() if name.upper() in codes else name].code)
    for kind in ("passes", "targets", "recipes", "machines", "metrics"):
        if name in _names(kind):
            return kind, page(kind, name)
    known = {n for kind in _LISTS if kind != "errors" for n in _names(kind)} | set(codes)
    raise unknown("pass, target, recipe, machine, metric or error code", name, known)


def _names(kind: str) -> tuple[str, ...]:
    if kind == "recipes":
        return recipe_names()
    if kind == "machines":
        return ("host", *machine_names())
    return tuple(table(kind))


def summary(thing: object) -> str:
    """First line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _passes() -> list[Entry]:
    classes = [pass_class(n) for n in table("passes")]
    return [Entry(c.name, summary(c), {"stage": c.stage.value, "contract": c.contract.value}) for c in classes]


def _targets() -> list[Entry]:
    here = find_machine("host")
    found = []
    for name in table("targets"):
        cls = runtime_class(name)
        found.append(Entry(name, summary(cls), {"here": cls().unavailable(here) or "available"}))
    return found


def _recipes() -> list[Entry]:
    found = []
    for name in recipe_names():
        lines = files("tamis.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        comment = (s for line in lines if (s := line.lstrip("# ")) and line.startswith("#") and "$schema" not in line)
        found.append(Entry(name, next(comment, "")))
    return found


def _machines() -> list[Entry]:
    machines = [find_machine(n) for n in ("host", *machine_names())]
    return [Entry(m.name, m.description, {"arch": m.arch, "int8": _int8(m.int8)}) for m in machines]


def _int8(units: object) -> str:
    pair, saturates = getattr(units, "pair", "?"), getattr(units, "saturates", False)
    return f"{pair}, saturating" if saturates else str(pair)


def _table_of(kind: str) -> Callable[[], list[Entry]]:
    return lambda: [Entry(n, summary(lookup(kind, n))) for n in table(kind)]


def _errors() -> list[Entry]:
    def entry(e: type[TamisError]) -> Entry:
        return Entry(e.code, summary(e), {"error": e.__name__, "exit": str(e.exit_code)})

    return [entry(e) for e in error_classes()]


_LISTS: dict[str, Callable[[], list[Entry]]] = {
    "passes": _passes,
    "targets": _targets,
    "recipes": _recipes,
    "machines": _machines,
    "metrics": _table_of("metrics"),
    "datasets": _table_of("datasets"),
    "errors": _errors,
}
