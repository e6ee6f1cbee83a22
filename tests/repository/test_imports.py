"""Imports go one way: passes -> compiler, targets -> compiler; nothing heavy at import time."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("compiler", "passes", "targets", "recipes")
MAY_IMPORT = {
    "compiler": ("tamis.compiler", "tamis.recipes"),
    "passes": ("tamis.compiler", "tamis.passes"),
    "targets": ("tamis.compiler", "tamis.targets"),
    "recipes": (),
    "src": ("tamis.compiler",),
}
HEAVY = {"onnxruntime", "onnxsim", "torch", "rich", "scipy", "optuna", "dask", "fsspec", "matplotlib"}
COMPILERS = {"tvm", "tvm_ffi"}
ENTRIES = {
    f"tamis.targets.tvm.{name}" for name in ("runtime", "child", "precheck", "legalize", "loaded_library", "settings")
}
"""Modules of the runtime that run in tamis' own process."""


def files(folder: str) -> list[Path]:
    """Python files of one of the top folders; src holds links to the others, which are not followed."""
    if folder == "src":
        return sorted((ROOT / "src" / "tamis").glob("*.py"))
    return sorted((ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Full names of modules (or of names in them) that are imported anywhere, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((f"{dots}{node.module or ''}.{alias.name}", node.lineno) for alias in node.names)


def at_import_time(tree: ast.Module) -> ast.Module:
    """The statements of a module that run when it is imported: no function bodies, nothing for type checkers only."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST:
            checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return ast.If(node.test, [ast.Pass()], node.orelse) if checking else self.generic_visit(node)

    found: ast.Module = Strip().visit(tree)
    return found


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def wrong_direction(folder: str, tree: ast.AST) -> list[str]:
    """Imports of tamis that code in ``folder`` may not have; relative ones are refused too."""
    found = []
    for name, line in imported(tree):
        if name in ("tamis.__version__", "tamis.compiler", "tamis.passes", "tamis.targets"):
            allowed = name == "tamis.__version__" or name in MAY_IMPORT[folder]
        elif name == "tamis" or name.startswith("tamis."):
            allowed = any(name.startswith(f"{package}.") for package in MAY_IMPORT[folder])
        else:
            allowed = not name.startswith(".")
        if not allowed:
            found.append(f"line {line}: {name}")
    return found


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_one_way(folder: str) -> None:
    found = {str(path.relative_to(ROOT)): wrong_direction(folder, parse(path)) for path in files(folder)}
    assert found, "no files were read"
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("compiler", "from tamis.passes.fusion import x"),
        ("compiler", "def f():\n    import tamis.targets.onnxruntime.runtime"),
        ("compiler", "from tamis import targets"),
        ("passes", "from tamis.targets.onnxruntime.runtime import OnnxRuntime"),
        ("passes", "from ..targets import x"),
        ("targets", "if TYPE_CHECKING:\n    from tamis.passes.fusion import x"),
        ("targets", "import tamis"),
    ],
)
def test_a_wrong_direction_is_seen(folder: str, code: str) -> None:
    assert wrong_direction(folder, ast.parse(code))


def test_folders_are_imported_under_tamis_only() -> None:
    tops = (*FOLDERS, "src", "tests", "benchmarks")
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for top in tops
        for path in files(top)
        for name, line in imported(parse(path))
        if name.partition(".")[0] in FOLDERS
    ]
    assert found == []


def with_tvm(paths: list[Path]) -> set[str]:
    """Names of modules that load TVM when they are imported, themselves or through one another."""
    trees = {module_of(path): at_import_time(parse(path)) for path in paths}
    names = {module: [name for name, _ in imported(tree)] for module, tree in trees.items()}
    found = {module for module, used in names.items() if any(n.partition(".")[0] in COMPILERS for n in used)}
    while more := {
        module
        for module, used in names.items()
        if module not in found and any(n.rpartition(".")[0] in found for n in used)
    }:
        found |= more
    return found


def module_of(path: Path) -> str:
    """The name that a file is imported by."""
    return "tamis." + path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def test_heavy_imports_are_inside_functions() -> None:
    """TVM is the exception, in modules that run in a process of their own and say so."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for top in (*FOLDERS, "src")
        for path in files(top)
        for name, line in imported(at_import_time(parse(path)))
        if name.partition(".")[0] in HEAVY
    ]
    assert found == []


def test_only_other_processes_load_tvm() -> None:
    paths = {module_of(path): path for path in files("targets")}
    loading = with_tvm(list(paths.values()))
    assert len(loading) > 5
    silent = [module for module in sorted(loading) if "process" not in (ast.get_docstring(parse(paths[module])) or "")]
    assert silent == []
    assert {m for m in loading if m.startswith("tamis.targets.links") or m in ENTRIES} == set()


def test_a_heavy_import_is_seen() -> None:
    hidden = "if TYPE_CHECKING:\n    import tvm\ndef f():\n    import torch\nclass C:\n    def m(self):\n        import rich\n"
    assert list(imported(at_import_time(ast.parse(hidden)))) == []
    assert list(imported(at_import_time(ast.parse("try:\n    import tvm\nexcept ImportError:\n    pass"))))


@pytest.mark.parametrize("folder", ["compiler", "passes", "targets"])
def test_a_folder_refuses_its_bare_name(folder: str) -> None:
    spec = importlib.util.spec_from_file_location(folder, ROOT / folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    with pytest.raises(ImportError, match=f"import tamis.{folder} instead"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_links_are_relative_and_point_to_the_top_folders() -> None:
    for folder in FOLDERS:
        link = ROOT / "src" / "tamis" / folder
        assert link.is_symlink()
        assert link.readlink() == Path("..") / ".." / folder
