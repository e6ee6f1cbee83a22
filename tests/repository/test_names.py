"""Names: file = class = YAML name = registry key; one idea a file, none of them called utils."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tamis.compiler import registry
from tamis.compiler.errors import error_classes
from tamis.compiler.machine import find_machine

ROOT = Path(__file__).parents[2]
CODE = [
    p for top in ("compiler", "passes", "targets", "recipes", "benchmarks") for p in sorted((ROOT / top).rglob("*.py"))
]
KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MAX_LINES = 300


def pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def snake(name: str) -> str:
    return name.replace("-", "_")


@pytest.mark.parametrize("name", sorted(registry.TABLE["passes"]))
def test_a_pass_has_one_name(name: str) -> None:
    module, _, attribute = registry.TABLE["passes"][name].partition(":")
    cls = registry.pass_class(name)
    assert KEBAB.fullmatch(name)
    assert cls.name == name
    assert attribute == cls.__name__ == pascal(name)
    assert re.fullmatch(rf"tamis\.passes\.[a-z_0-9]+\.{snake(name)}", module)


@pytest.mark.parametrize("name", sorted(registry.TABLE["passes"]))
def test_a_pass_has_a_test_file(name: str) -> None:
    *_, family, file = registry.TABLE["passes"][name].partition(":")[0].split(".")
    assert (ROOT / "tests" / "passes" / family / f"test_{file}.py").is_file()


@pytest.mark.parametrize("name", sorted(registry.TABLE["targets"]))
def test_a_runtime_has_one_name(name: str) -> None:
    cls = registry.runtime_class(name)
    assert KEBAB.fullmatch(name)
    assert cls.name == name
    assert cls.__module__.startswith(f"tamis.targets.{snake(name)}.")


@pytest.mark.parametrize("name", sorted(registry.TABLE["metrics"]))
def test_a_metric_has_one_name(name: str) -> None:
    assert KEBAB.fullmatch(name)
    assert registry.TABLE["metrics"][name].partition(":")[2] == pascal(name)


def test_every_pass_is_registered() -> None:
    found = set()
    for path in sorted((ROOT / "passes").rglob("*.py")):
        module = "tamis." + path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(re.match(r"\w+Pass\[", ast.unparse(b)) for b in node.bases):
                found.add(f"{module}:{node.name}")
    assert found == set(registry.TABLE["passes"].values())


def test_machines_and_recipes_are_called_as_their_files() -> None:
    for name in registry.machine_names():
        assert find_machine(name).name == name
    for name in (*registry.machine_names(), *registry.recipe_names()):
        assert KEBAB.fullmatch(name), name


def test_error_classes_end_in_error_and_have_codes_of_their_own() -> None:
    classes = list(error_classes())
    assert [c.__name__ for c in classes if not c.__name__.endswith("Error")] == []
    assert [c.__name__ for c in classes if "code" not in vars(c) or not re.fullmatch(r"T\d{3}", c.code)] == []
    assert len({c.code for c in classes}) == len(classes)


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [str(p.relative_to(ROOT)) for p in CODE if p.stem in drawers] == []


def test_test_files_are_under_tests_only() -> None:
    assert [str(p.relative_to(ROOT)) for p in CODE if p.stem.startswith("test_") or p.stem.endswith("_test")] == []


def test_files_are_short() -> None:
    lines = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in CODE}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_every_package_says_what_it_is() -> None:
    silent = [
        p for p in CODE if p.name == "__init__.py" and not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))
    ]
    assert silent == []
