"""A runtime's part of the loader that is written into bundles, and how modules become one text."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from pydantic import JsonValue

OWN = "tamis."
"""Imports from here are dropped from a loader: what they name is in the same text."""


@dataclass(frozen=True)
class LoaderSource:
    """How a loader without tamis opens a runtime's artifact.

    Args:
        text: Python that defines ``opened(path, settings)``, which gives what ``BundleModel`` of
            ``tamis.compiler.loader.bundle_module`` describes; it needs NumPy and the runtime only.
        settings: Its second argument.
        lines: Lines ``KEY VALUE...`` for programs in other languages: what they need to open the model alike.
    """

    text: str
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def joined(modules: Sequence[str]) -> str:
    """The texts of modules of tamis, one after the other, without imports of tamis, ``__future__`` and docstrings.

    Args:
        modules: Full names, each after those that it imports from.
    """
    return "\n\n\n".join(_body(name) for name in modules)


def _body(name: str) -> str:
    package, _, module = name.rpartition(".")
    text = files(package).joinpath(f"{module}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    for i, node in enumerate(ast.parse(text).body):
        if (i == 0 and isinstance(node, ast.Expr)) or _dropped(node):
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines).strip()


def _dropped(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and bool(node.module) and f"{node.module}.".startswith((OWN, "__future__."))
