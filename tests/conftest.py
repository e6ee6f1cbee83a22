"""What all tests share: golden ONNX text, compared whole and rewritten with ``--update-golden``."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

GOLDEN = Path(__file__).parent / "golden"

os.environ.setdefault("TAMIS_CACHE", "off")  # a test that compiles twice means it; those of the cache switch it on


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden instead of comparing with it")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[ir.Model, str], None]:
    """``golden(model, "pass-name/case")`` compares the text of a model with ``tests/golden/pass-name/case.onnxtxt``."""

    def check(model: ir.Model, case: str) -> None:
        path, text = GOLDEN / f"{case}.onnxtxt", ir.to_onnx_text(model)
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run pytest with --update-golden and review what it writes"
        assert text == path.read_text(encoding="utf-8")

    return check


def pytest_configure(config: pytest.Config) -> None:
    """Workers of xdist ignore interrupts, and so would all that they start."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Take what the collected modules hold out of garbage collection, which measurements run before they begin."""
    gc.collect()
    gc.freeze()
