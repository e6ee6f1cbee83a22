"""What ``import tamis`` offers: exactly ``__all__``, all of it documented, and light to import."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import tamis
from tamis.compiler import errors

ROOT = Path(__file__).parents[2]
HEAVY = {"onnxruntime", "onnxsim", "onnx", "onnx_ir", "onnxscript", "tvm", "torch", "scipy"}
FUNCTIONS = {"compile", "load", "verify"}
START_SECONDS = 0.5


def child(code: str) -> str:
    """Standard output of ``code`` in a fresh interpreter that imports this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_the_code_under_test_is_this_checkout() -> None:
    assert Path(tamis.__file__).resolve() == ROOT / "src" / "tamis" / "__init__.py"
    assert Path(errors.__file__).resolve() == ROOT / "compiler" / "errors.py"


def test_the_public_names_are_these() -> None:
    assert set(tamis.__all__) == FUNCTIONS | {"__version__"} | {c.__name__ for c in errors.error_classes()}
    assert sorted(tamis.__all__) == tamis.__all__


def test_there_are_no_other_public_names() -> None:
    code = (
        "import json, types, tamis\n"
        "print(json.dumps([n for n, v in vars(tamis).items() if n[0] != '_' and not isinstance(v, types.ModuleType)]))"
    )
    imports = {"annotations", "Mapping", "Path", "TYPE_CHECKING", "Any"}
    assert set(json.loads(child(code))) - imports == set(tamis.__all__) - {"__version__"}


@pytest.mark.parametrize("name", sorted(tamis.__all__))
def test_a_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(tamis, name)
    if name != "__version__":
        assert not isinstance(value, types.ModuleType)
        assert vars(value).get("__doc__") if isinstance(value, type) else inspect.getdoc(value)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_public_function_is_fully_typed(name: str) -> None:
    signature = inspect.signature(getattr(tamis, name))
    kinds = [p.annotation for p in signature.parameters.values()] + [signature.return_annotation]
    assert inspect.Signature.empty not in kinds


def test_the_version_is_that_of_the_distribution() -> None:
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as stream:
        assert tomllib.load(stream)["project"]["version"] == tamis.__version__


@pytest.mark.parametrize("code", ["import tamis", "from tamis.compiler.cli.app import run; run(['--help'])"])
def test_importing_and_helping_load_nothing_heavy(code: str) -> None:
    loaded = child(f"{code}\nimport sys, json\nprint('\\n' + json.dumps(sorted(sys.modules)))").splitlines()[-1]
    assert {name.partition(".")[0] for name in json.loads(loaded)} & HEAVY == set()


def test_help_is_quick() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "tamis", "--help"], env=environment, capture_output=True, check=True
        )
        seconds.append(time.perf_counter() - start)
        assert b"compile" in done.stdout
    assert min(seconds) < START_SECONDS
