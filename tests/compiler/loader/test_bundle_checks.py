"""What the loader in a bundle refuses: damage, other machines, wrong inputs; each with its exit status."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.compiler.bundle import MANIFEST, open_bundle
from tamis.compiler.loader.bundle_files import golden_error
from tamis.compiler.loader.write_loader import LOADER
from tamis.targets.links.tvm_library import load_runtime
from tests.compiler.loader.loaders import change, feeds, imported, status


def test_damage_is_named(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(original + b"x")
    assert status(bundle, "--verify") == 2
    assert "model.onnx was changed or damaged" in capsys.readouterr().err
    (bundle / "model.onnx").unlink()
    assert status(bundle, "--verify", "--json") == 2
    assert "model.onnx is missing" in json.loads(capsys.readouterr().out)["message"]
    change(bundle, lambda m: m["files"].update({"../out": m["files"]["golden.npz"]}))
    assert status(bundle, "--verify") == 2
    for text in ("[]", '{"format": 2}', '{"format": 1}', "[" * 100_000, "not json"):
        (bundle / MANIFEST).write_text(text)
        assert status(bundle, "--verify") == 2


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.update(artifact=["/etc/passwd"]),
        lambda m: m.update(artifact=[]),
        lambda m: m.update(files=[]),
        lambda m: m["files"].update({"model.onnx": {}}),
        lambda m: m["golden"].update(cases=10**9),
        lambda m: m["golden"].update(tolerances={"y": "wide"}),
        lambda m: m["target"].update(machine=None),
        lambda m: m["target"]["machine"].update(isa=[1]),
        lambda m: m.update(steps=[1]),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    bundle: Path, edit: Callable[[dict[str, Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    change(bundle, edit)
    assert status(bundle, "--verify") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_changed_loader_is_a_damaged_bundle(bundle: Path) -> None:
    (bundle / LOADER).write_text((bundle / LOADER).read_text() + "\n")
    with pytest.raises(tamis.BundleError, match=LOADER):
        open_bundle(bundle)


def test_the_machine_is_checked(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(bundle, lambda m: m["target"]["machine"].update(isa=["made-up"]))
    assert status(bundle, "--verify") == 0
    assert "lacks made-up: expect other run times" in capsys.readouterr().out
    (bundle / "model.onnx").rename(bundle / "model.so")

    def as_library(manifest: dict[str, Any]) -> None:
        manifest["artifact"] = ["model.so"]
        manifest["files"]["model.so"] = manifest["files"].pop("model.onnx")

    change(bundle, as_library)
    assert status(bundle, "--verify") == 4
    assert "lacks made-up of host; compile for this machine" in capsys.readouterr().err
    change(bundle, lambda m: m["target"]["machine"].update(arch="vax"))
    assert status(bundle, "--verify") == 4
    assert "was compiled for vax" in capsys.readouterr().err


def test_a_missing_runtime_is_status_4(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert status(bundle, "--verify") == 4


def test_the_runtime_of_tvm_that_is_missing_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the loader gives status 4, as for any runtime that is not installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="apache-tvm is not installed"):
        load_runtime("libtvm_runtime.so")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": None}, "no array for input 'x'; expected x, at"),
        ({"u": np.zeros(1)}, "the model has no input 'u'; expected x, at"),
        ({"x": [[1.0]]}, "input 'x': expected numpy.ndarray, found list"),
        ({"x": np.zeros((1, 4))}, "input 'x': wrong element type; expected float32, found float64"),
        ({"x": np.zeros((1, 5), np.float32)}, r"input 'x': wrong shape; expected \[N, 4\], found \[1, 5\]"),
    ],
)
def test_wrong_inputs_are_refused(built: Path, changed: Mapping[str, Any], message: str) -> None:
    module = imported(built)
    given = {name: array for name, array in {**feeds(), **changed}.items() if array is not None}
    with pytest.raises(module.LoaderError, match=message) as caught:
        module.load()(given)
    assert caught.value.exit_code == 2


def test_a_failure_of_the_runtime_is_status_5(built: Path) -> None:
    module = imported(built)
    with pytest.raises(module.LoaderError, match="the runtime failed") as caught:
        module.load()({**feeds(), "at": np.array([9], np.int64)})
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("given", "same"), [(["a", "\u00fc", ""], True), (["a", "b", ""], False), (["a", "\u00fc"], False)]
)
def test_texts_are_compared(given: list[str], same: bool) -> None:
    """A golden file has them of a fixed width, runtimes give objects."""
    error = golden_error(np.array(["a", "\u00fc", ""]), np.array(given, object))
    assert (error == 0) if same else np.isnan(error)
