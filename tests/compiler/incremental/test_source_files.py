"""The files that a build reads: every one of them, each as what it is read, and nothing that is no file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.compiler.incremental.source_files import SourceFile, source_files
from tamis.compiler.model_file import model_bytes
from tests import models


@pytest.fixture
def project(tmp_path: Path) -> Path:
    model = models.model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    (tmp_path / "m.onnx").write_bytes(model_bytes(model))
    return tmp_path


def read(folder: Path, **data: Any) -> list[SourceFile] | None:
    return source_files({"model": "m.onnx", "data": data}, folder, None)


def content(files: list[SourceFile] | None) -> list[tuple[str, str, str]]:
    assert files is not None
    return [(file.role, file.name, file.sha256) for file in files]


def test_a_sample_that_moves_from_evaluation_to_calibration_is_a_change(project: Path) -> None:
    for folder, names in (("c", "a"), ("e", "bc")):
        (project / folder).mkdir()
        for name in names:
            np.save(project / folder / f"{name}.npy", np.full(2, ord(name), np.float32))
    before = content(read(project, calibration={"folder": "c"}, evaluation={"folder": "e"}))
    (project / "e" / "b.npy").rename(project / "c" / "b.npy")
    assert content(read(project, calibration={"folder": "c"}, evaluation={"folder": "e"})) != before


def test_blanks_around_a_name_in_a_list(project: Path) -> None:
    (project / "a.png").write_bytes(b"1")
    (project / "list.csv").write_text("file,label\n a.png ,1\n")
    found = read(project, calibration={"csv": "list.csv"})
    assert found is not None
    assert project / "a.png" in [file.path for file in found]


@pytest.mark.parametrize("kind", ["npz", "csv", "folder", "images"])
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "a\0b", "n" * 300, "missing"])
def test_what_is_no_file_is_not_read(project: Path, kind: str, name: str) -> None:
    os.mkfifo(project / "pipe")
    assert read(project, calibration={kind: name}) is None
    assert source_files({"model": name}, project, None) is None
