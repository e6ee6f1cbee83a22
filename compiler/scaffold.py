"""Files of a new pass, runtime or recipe in a checkout of tamis: ``tamis new``.

What is written works as it is: it passes ``make check`` and its own test, and is then changed into what is
wanted. All files of a call appear, or none.
"""

from __future__ import annotations

import keyword
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from string import Template

from tamis.compiler.errors import UsageError
from tamis.compiler.graph_pass import Stage
from tamis.compiler.registry import nearest
from tamis.compiler.staging import staged_file
from tamis.compiler.templates.new_pass import PASS, PASS_TEST
from tamis.compiler.templates.new_recipe import RECIPE
from tamis.compiler.templates.new_runtime import RUNTIME, RUNTIME_PACKAGE, RUNTIME_TEST

KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
REGISTRY = Path("compiler") / "registry.py"


def new_pass(name: str, family: str, root: Path) -> list[Path]:
    """Write a pass, its test, and its line in the registry.

    Args:
        name: Kebab-case name.
        family: Folder under ``passes``.
        root: The checkout, or a folder in it.

    Returns:
        The paths written, the pass first.

    Raises:
        UsageError: Not a checkout, a bad or taken name, no such family, or a file that exists.
        OutputError, WriteError: Writing failed; nothing is left.
    """
    checkout = _checkout(root)
    families = sorted(p.parent.name for p in (checkout / "passes").glob("*/__init__.py"))
    if family not in families:
        raise UsageError(
            f"there is no family of passes {family!r}{nearest(family, families)}",
            expected=f"one of {', '.join(families)}",
            fix="make the folder with an __init__.py first if a new family is meant",
        )
    snake, pascal = _name(name)
    stage = next((s for s in Stage if s.value[:3] == family[:3]), Stage.FUSE)
    words = {"name": name, "snake": snake, "pascal": pascal, "family": family, "stage": stage.name}
    return _write(
        checkout,
        {
            Path("passes") / family / f"{snake}.py": Template(PASS).substitute(words),
            Path("tests") / "passes" / family / f"test_{snake}.py": Template(PASS_TEST).substitute(words),
        },
        registered=("passes", name, f"tamis.passes.{family}.{snake}:{pascal}"),
    )


def new_runtime(name: str, root: Path) -> list[Path]:
    """Write a runtime, its test, and its line in the registry.

    Returns:
        The paths written.

    Raises:
        UsageError: Not a checkout, a bad or taken name, or a file that exists.
        OutputError, WriteError: Writing failed; nothing is left.
    """
    checkout = _checkout(root)
    snake, pascal = _name(name)
    words = {"name": name, "snake": snake, "pascal": pascal}
    folder = Path("targets") / snake
    return _write(
        checkout,
        {
            folder / "runtime.py": Template(RUNTIME).substitute(words),
            folder / "__init__.py": Template(RUNTIME_PACKAGE).substitute(words),
            Path("tests") / folder / "test_runtime.py": Template(RUNTIME_TEST).substitute(words),
        },
        registered=("targets", name, f"tamis.targets.{snake}.runtime:{pascal}"),
    )


def new_recipe(name: str, root: Path) -> list[Path]:
    """Write a shipped recipe.

    Returns:
        The path written.

    Raises:
        UsageError: Not a checkout, a bad or taken name, or a file that exists.
        OutputError, WriteError: Writing failed; nothing is left.
    """
    checkout = _checkout(root)
    _name(name)
    return _write(checkout, {Path("recipes") / f"{name}.yaml": RECIPE})


def _checkout(root: Path) -> Path:
    """The top folder of the checkout that ``root`` is in."""
    for folder in (root.resolve(), *root.resolve().parents):
        project = folder / "pyproject.toml"
        if (
            project.is_file()
            and tomllib.loads(project.read_text(encoding="utf-8")).get("project", {}).get("name") == "tamis"
        ):
            return folder
    raise UsageError(
        "this is not a checkout of tamis",
        where=str(root),
        fix="go to one, or give it with --root; a plug-in of your own needs an entry point instead, see CONTRIBUTING.md",
    )


def _name(name: str) -> tuple[str, str]:
    """The name as of a file and as of a class."""
    snake = name.replace("-", "_")
    if not KEBAB.fullmatch(name) or keyword.iskeyword(snake) or snake.startswith("test_"):
        raise UsageError(
            f"{name!r} is not a usable name",
            expected="kebab-case, such as fuse-hard-swish: small letters and digits, words joined by '-', not test-...",
        )
    return snake, "".join(part.capitalize() for part in name.split("-"))


def _write(checkout: Path, texts: dict[Path, str], registered: tuple[str, str, str] | None = None) -> list[Path]:
    paths = {checkout / path: text for path, text in texts.items()}
    for path in paths:
        if path.exists():
            raise UsageError("already exists", where=str(path), fix="choose another name")
    if registered is not None:
        paths[checkout / REGISTRY] = _with_line(checkout / REGISTRY, *registered)
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    folders = [parent for path in paths for parent in path.parents if not parent.exists()]
    try:
        for path, text in paths.items():
            with staged_file(path) as staged:
                staged.write_text(text, encoding="utf-8")
    except BaseException:
        _undo(before, folders)
        raise
    return list(paths)


def _with_line(registry: Path, kind: str, name: str, value: str) -> str:
    """The text of the registry with one more line at the end of a table."""
    text = registry.read_text(encoding="utf-8")
    if f'"{name}":' in text:
        raise UsageError(f"the name {name!r} is taken", where=str(registry), fix="choose another name")
    start = text.find(f'    "{kind}": {{\n')
    end = text.find("    },\n", start)
    if min(start, end) < 0:
        raise UsageError(f"there is no table {kind!r}", where=str(registry), fix="restore the file")
    return f'{text[:end]}        "{name}": "{value}",\n{text[end:]}'


def _undo(before: dict[Path, bytes | None], folders: Iterable[Path]) -> None:
    for path, data in before.items():
        if data is None:
            path.unlink(missing_ok=True)
        elif path.read_bytes() != data:
            path.write_bytes(data)
    for folder in sorted(folders, key=lambda f: len(f.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
