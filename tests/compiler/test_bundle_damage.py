"""Bundles whose digests fit and whose content does not, and folders that a compile must not take for its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.compiler.bundle import GOLDEN, MANIFEST, file_record, is_output, open_bundle, write_npz
from tamis.compiler.cli.app import run
from tamis.compiler.errors import BundleError
from tamis.compiler.golden import read_golden
from tests.toy_bundle import write_bundle

VALID = Path(__file__).parents[1] / "fuzz" / "corpus" / "bundle" / "valid"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of one input and one output, ``y``."""
    return shutil.copytree(VALID, tmp_path / "bundle")


def change(bundle: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    edit(manifest)
    manifest["files"][GOLDEN] = file_record(bundle / GOLDEN).model_dump()
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_bundle_without_golden_cases_proves_nothing(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_npz(bundle / GOLDEN, {})
    change(bundle, lambda m: m["golden"].update(cases=0))
    for arguments in (["verify"], ["verify", "--json"], ["serve", "--port", "0"]):
        assert run([*arguments, str(bundle)]) == 2
        found = capsys.readouterr()
        assert "golden.npz cannot be read" in found.out + found.err


@pytest.mark.parametrize("outputs", [(), ("z",), ("y", "z")])
def test_a_golden_case_has_the_outputs_of_the_bundle(bundle: Path, outputs: tuple[str, ...]) -> None:
    with np.load(bundle / GOLDEN) as archive:
        arrays = dict(archive)
    array = arrays.pop("1/out/y")
    write_npz(bundle / GOLDEN, {**arrays, **{f"1/out/{name}": array for name in outputs}})
    change(bundle, lambda m: m)
    with pytest.raises(BundleError, match="other outputs than the bundle"):
        read_golden(open_bundle(bundle))


def test_options_of_another_runtime_are_no_traceback(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(bundle, lambda m: m["target"]["options"].update(bogus=1))
    assert run(["verify", str(bundle)]) == 2
    assert "options that are not those of runtime onnxruntime; found bogus" in capsys.readouterr().err


def test_a_folder_with_more_than_bundles_is_not_replaced(tmp_path: Path) -> None:
    for name in "ab":
        write_bundle(tmp_path / "out" / name)
    assert is_output(tmp_path / "out") and is_output(tmp_path / "out" / "a")
    (tmp_path / "out" / "source.py").write_text("")
    assert not is_output(tmp_path / "out")
    assert not is_output(tmp_path / "none")
