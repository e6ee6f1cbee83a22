"""The page of everything that has a name, made from its docstring, its contract and its options.

``tamis explain`` prints these pages; ``python -m tamis.compiler.pages --write docs`` puts them into the
documentation, one folder a kind, and ``--check docs`` tells whether they are up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from tamis.compiler import registry
from tamis.compiler.docstring import parse
from tamis.compiler.errors import TamisError, error_classes
from tamis.compiler.fields_table import markdown, rows
from tamis.compiler.graph_pass import Contract
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Gpu, Machine

CONTRACTS = {
    Contract.EXACT: "same bits on the same kernels",
    Contract.CLOSE: "only the order of floating-point operations differs",
    Contract.LOSSY: "changes the function on purpose; the accuracy budget is the judge",
}
EXITS = {
    1: "a budget is missed",
    2: "usage, recipe, model or data are wrong",
    3: "results are not what was promised",
    4: "a machine or runtime cannot be used here",
    5: "a runtime, the system or tamis itself failed",
}
INTRODUCTIONS = {
    "passes": "What can stand under `passes` in a recipe.",
    "targets": "What can stand under `runtime` in a target of a recipe.",
    "machines": "What can stand under `machine` in a target of a recipe, besides `host`, which is detected.",
    "recipes": "What can be given to `tamis compile -r` and to `extends`.",
    "metrics": "What can stand under `metric` in the evaluation data of a recipe.",
    "errors": "Each message starts with a code; `tamis explain CODE` prints its page.",
}
MARK = "<!-- Made by 'make docs' from the code: change that instead. -->\n\n"


def page(kind: str, name: str) -> str:
    """The page of one name, Markdown.

    Args:
        kind: passes, targets, machines, recipes, metrics or errors.
        name: As in the registry; for errors, the code.

    Raises:
        RegistryError: There is no such name.
    """
    if kind not in PAGES:
        raise registry.unknown("kind of page", kind, PAGES)
    return "\n\n".join(part for part in PAGES[kind](name) if part) + "\n"


def names(kind: str) -> tuple[str, ...]:
    """Names of what ships with tamis: plug-ins and ``host`` have a page, but not in the documentation."""
    if kind == "errors":
        return tuple(e.code for e in error_classes())
    if kind == "machines":
        return registry.machine_names()
    if kind == "recipes":
        return registry.recipe_names()
    return tuple(sorted(registry.TABLE[kind]))


def all_pages() -> dict[str, str]:
    """Path relative to ``docs`` -> text, of every page and of one index a kind."""
    made: dict[str, str] = {}
    for kind in PAGES:
        texts = {name: page(kind, name) for name in names(kind)}
        made |= {f"{kind}/{name}.md": MARK + text for name, text in texts.items()}
        made[f"{kind}/README.md"] = MARK + _index(kind, texts)
    return made


def _index(kind: str, texts: Mapping[str, str]) -> str:
    cells = []
    for name, text in texts.items():
        title, summary = text.split("\n\n")[:2]
        cells.append((f"[{title.removeprefix('# ')}]({name}.md)", summary.replace("\n", " ")))
    return f"# {kind.capitalize()}\n\n{INTRODUCTIONS[kind]}\n\n{markdown(('name', 'what it is'), cells)}\n"


def _pass(name: str) -> list[str]:
    cls = registry.pass_class(name)
    module = parse(import_module(cls.__module__))
    own = parse(cls)
    proven = "measured faster" if cls.contract is Contract.LOSSY else "not measured slower"
    kept = "its contract holds" + (f" and it is {proven} on the target" if cls.speed_motivated else "")
    facts = {
        "stage": cls.stage.value,
        "contract": f"{cls.contract.value} ({CONTRACTS[cls.contract]})",
        "kept if": kept,
        "source": _source(cls),
    }
    sections = module.sections | own.sections
    order = sorted(sections, key=lambda key: (key == "References", key not in own.sections))
    shown = _sections({key: sections[key] for key in order})
    return [f"# {name}", own.summary, _list(facts), module.body, own.body, *shown, *_options(cls)]


def _target(name: str) -> list[str]:
    cls = registry.runtime_class(name)
    own = parse(cls)
    return [
        f"# {name}",
        own.summary,
        _list({"source": _source(cls)}),
        own.body,
        *_sections(own.sections),
        *_options(cls),
    ]


def _machine(name: str) -> list[str]:
    machine = find_machine(name)
    data = machine.model_dump(mode="json")
    cells = [
        (f"`{row.name}`", _value(data, row.name), row.description)
        for row in rows(Machine)
        if row.name not in ("name", "description", "gpu")
    ]
    if machine.gpu is not None:
        cells += [(f"`gpu.{row.name}`", _value(data["gpu"], row.name), row.description) for row in rows(Gpu)]
    return [f"# {name}", machine.description, markdown(("field", "value", "meaning"), cells)]


def _value(data: Any, path: str) -> str:
    for key in path.split("."):
        data = data[key]
    if isinstance(data, list):
        return ", ".join(map(str, data)) or "none"
    return str(data).lower() if isinstance(data, bool) else str(data)


def _recipe(name: str) -> list[str]:
    if name not in registry.recipe_names():
        raise registry.unknown("recipe", name, registry.recipe_names())
    text = files("tamis.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "yaml-language-server" not in line]
    head = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:head]).strip()
    body = "\n".join(lines[head:]).strip()
    use = f"```bash\ntamis compile model.onnx -r {name} -o out\n```"
    return [f"# {name}", comment, use, "## Recipe", f"```yaml\n{body}\n```"]


def _metric(name: str) -> list[str]:
    thing = registry.lookup("metrics", name)
    own = parse(thing)
    facts = {"better": "higher" if thing.higher_is_better else "lower", "source": _source(thing)}
    return [f"# {name}", own.summary, _list(facts), own.body, *_sections(own.sections)]


def _error(code: str) -> list[str]:
    classes = {e.code: e for e in error_classes()}
    if code not in classes:
        raise registry.unknown("error code", code, classes)
    cls = classes[code]
    own = parse(cls)
    parents = [f"`{p.__name__}` ({p.code})" for p in cls.__mro__[1:] if issubclass(p, TamisError)]
    facts = {
        "exit status": f"{cls.exit_code} ({EXITS[cls.exit_code]})",
        "in Python": f"`tamis.{cls.__name__}`",
        "is also a": ", ".join(parents),
        "special cases": ", ".join(f"`{c.__name__}` ({c.code})" for c in classes.values() if c.__base__ is cls),
    }
    return [f"# {code} {cls.__name__}", own.summary, own.body, _list({k: v for k, v in facts.items() if v})]


def _sections(sections: Mapping[str, str]) -> list[str]:
    return [f"## {name}\n\n{text}" for name, text in sections.items()]


def _options(cls: type[Any]) -> list[str]:
    cells = [
        (f"`{row.name}`", row.type, row.default if row.default == "required" else f"`{row.default}`", row.description)
        for row in rows(cls.options_type)
    ]
    return ["## Options", markdown(("option", "type", "default", "meaning"), cells)] if cells else []


def _source(cls: type[Any]) -> str:
    top, _, rest = cls.__module__.partition(".")
    return f"`{rest.replace('.', '/')}.py`" if top == "tamis" else f"`{cls.__module__}`, a plug-in"


def _list(facts: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in facts.items())


PAGES: dict[str, Callable[[str], list[str]]] = {
    "passes": _pass,
    "targets": _target,
    "machines": _machine,
    "recipes": _recipe,
    "metrics": _metric,
    "errors": _error,
}


def stale(folder: Path) -> list[str]:
    """Paths, relative to ``folder``, of pages that are missing, differ, or belong to nothing."""
    pages = all_pages()
    there = {p.relative_to(folder).as_posix(): p for kind in PAGES for p in (folder / kind).glob("*.md")}
    differing = [n for n, text in pages.items() if n not in there or there[n].read_text(encoding="utf-8") != text]
    return sorted({*differing, *(there.keys() - pages.keys())})


def write(folder: Path) -> list[str]:
    """Write all pages that are stale, remove those of names that are gone; returns their paths."""
    pages = all_pages()
    changed = stale(folder)
    for name in changed:
        path = folder / name
        if name in pages:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages[name], encoding="utf-8")
        else:
            path.unlink()
    return changed


def main(arguments: list[str] | None = None) -> int:
    """``--write FOLDER`` or ``--check FOLDER``; 1 if a check found something."""
    parser = argparse.ArgumentParser(prog="python -m tamis.compiler.pages", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", type=Path, metavar="FOLDER", help="write the pages")
    what.add_argument("--check", type=Path, metavar="FOLDER", help="list the pages that are not up to date")
    options = parser.parse_args(arguments)
    found = write(options.write) if options.write else stale(options.check)
    sys.stdout.writelines(f"{name}\n" for name in found)
    return 1 if options.check and found else 0


if __name__ == "__main__":
    sys.exit(main())
