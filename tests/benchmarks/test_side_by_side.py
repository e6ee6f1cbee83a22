"""A stage in a process of its own: whatever happens in it, there is an answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case
from benchmarks.side_by_side.child import candidate, make, serve
from benchmarks.side_by_side.processes import ask

CASE = {"name": "toy", "folder": "folder", "data": "data", "metric": "accuracy", "max_drop": 0.1, "threads": 1}


def _served(asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def maker(case: Case, out: Path) -> Candidate:
        assert case.model == Path("folder/model.onnx")
        return Candidate(out / "made.onnx", notes=("a note",))

    def broken(case: Case, asked: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("two\nlines")

    request, answer = tmp_path / "request.json", tmp_path / "answer.json"
    request.write_text(json.dumps({"case": CASE, **asked}), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["child", str(request), str(answer)])
    serve({"make": lambda case, asked: make(maker, case, asked), "broken": broken})
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def test_what_was_made_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _served({"stage": "make", "out": str(tmp_path)}, tmp_path, monkeypatch)
    assert candidate(made) == Candidate(tmp_path / "made.onnx")
    assert made["notes"] == ["a note"] and made["made_seconds"] >= 0 and made["peak_mb"] > 0


def test_an_exception_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _served({"stage": "broken"}, tmp_path, monkeypatch) == {"error": "ValueError: two lines"}


def test_a_process_that_dies_is_an_answer() -> None:
    found = ask("benchmarks.no_such_child", {}, 60)
    assert "ended with status 1" in found["error"]


def test_a_process_that_takes_too_long_is_ended() -> None:
    assert ask("tests.benchmarks.hanging_child", {}, 0.3) == {"error": "took longer than 0 s"}
