"""Make and Ninja read a depfile with names that they write in their own ways."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tamis.compiler.depfile import write_depfile
from tests.integrations.conftest import Example

ODD = ("a b.onnx", "a#b.npz", "a$b.csv", "a$ #(b)  c.yaml", "\u00e9t\u00e9.onnx", "a+b,c=d@e.bin")
MAKE = "out/bundle.json:\n\t@echo built\n\t@mkdir -p out && touch $@\n-include out.d\n"
NINJA = """rule touch
  command = mkdir -p out && touch $out && echo built
  depfile = out.d
build out/bundle.json: touch
"""


@pytest.mark.parametrize(("command", "file", "text"), [("make", "Makefile", MAKE), ("ninja", "build.ninja", NINJA)])
def test_a_change_of_each_is_seen(
    example: Callable[[str], Example], tmp_path: Path, command: str, file: str, text: str
) -> None:
    project = Example(tmp_path / "odd", tmp_path / "log")
    project.folder.mkdir()
    (project.folder / file).write_text(text)
    files = [project.folder / name for name in ODD]
    for path in files:
        path.touch()
        os.utime(path, (1e9, 1e9))

    def builds() -> bool:
        return "built" in project.run(command).splitlines()

    write_depfile(project.folder / "out.d", ["out/bundle.json"], files)
    assert builds()
    assert not builds()
    for path in files:
        path.touch()
        assert builds(), path.name
        assert not builds(), path.name
    files[0].unlink()
    assert builds(), "a file that is gone makes the bundle stale and breaks nothing"
