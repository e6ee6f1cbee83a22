"""What ``verify --strict`` lets pass and what not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx_ir as ir
import pytest

import tamis
from tamis.compiler import target_build, verify_strict
from tamis.compiler.bundle import MANIFEST, MEASUREMENTS
from tamis.compiler.cli.app import run
from tamis.compiler.errors import BundleError, UsageError, VerificationError
from tamis.compiler.model_file import save_model
from tamis.compiler.verify_bundle import verify_bundle
from tests.models import model, random

GRAPH = "g (float[1, 64] x) => (float[1, 64] y) {\n    h = MatMul(x, w)\n    y = Relu(h)\n}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, beside the model as given."""
    folder = tmp_path_factory.mktemp("strict")
    save_model(model(GRAPH, w=random(64, 64)), folder / "given.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target_build, "MEASURE_SECONDS", 0.01)
        patch.setenv("TAMIS_CACHE_DIR", str(folder / "cache"))
        (folder / "recipe.yaml").write_text("version: 1\nmodel: given.onnx\npasses: [canonicalize]\n")
        tamis.compile(recipe=folder / "recipe.yaml", out=folder / "out")
    return folder / "out"


@pytest.fixture
def bundle(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that records the ratio 1, measured briefly."""
    monkeypatch.setattr(verify_strict, "SECONDS", 0.05)
    copied = shutil.copytree(built, tmp_path / "bundle")
    record(copied, 1.0)
    return copied


def record(bundle: Path, ratio: float) -> None:
    """Write a ratio into the bundle."""
    path = bundle / MEASUREMENTS
    data = json.loads(path.read_text()) | {"speedup": {"speedup": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio}}
    path.write_text(json.dumps(data))


def edit(bundle: Path, what: str, key: str, value: object) -> None:
    """Change an entry of the manifest's target."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["target"][what][key] = value
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_good_bundle_passes_and_says_what_was_not_measured(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(bundle), "--strict"]) == 0
    assert verify_strict.NOT_MEASURED in capsys.readouterr().out


def test_the_ratio_is_measured_again(bundle: Path, built: Path) -> None:
    record(bundle, 0.1)
    found = verify_bundle(bundle, strict=True, model=built.parent / "given.onnx")
    assert found.speed is not None and found.speed.holds
    assert found.to_dict()["speed"]["recorded"]["speedup"] == 0.1


def test_a_ratio_that_was_better_is_missed(bundle: Path, built: Path) -> None:
    record(bundle, 1000.0)
    with pytest.raises(VerificationError, match="slower than recorded") as raised:
        verify_bundle(bundle, strict=True, model=built.parent / "given.onnx")
    assert raised.value.exit_code == 3


@pytest.mark.parametrize(
    ("recorded", "found", "holds"),
    [
        ((1.3, 1.2, 1.4), (1.1, 1.0, 1.15), True),  # within what two sessions differ by
        ((1.3, 1.2, 1.4), (1.1, 1.0, 1.14), False),
        ((1.3, 1.2, 1.4), (9.0, 8.0, 10.0), True),
    ],
)
def test_intervals_must_be_apart_by_more_than_noise(
    recorded: tuple[float, float, float], found: tuple[float, float, float], holds: bool
) -> None:
    assert verify_strict.Remeasured(recorded, found).holds is holds


def test_a_bundle_without_a_ratio_cannot_be_held_to_it(bundle: Path, built: Path) -> None:
    (bundle / MEASUREMENTS).unlink()
    with pytest.raises(BundleError, match="no recorded ratio"):
        verify_bundle(bundle, strict=True, model=built.parent / "given.onnx")


def test_another_model_is_refused(bundle: Path, tmp_path: Path) -> None:
    save_model(model(GRAPH, w=random(64, 64, seed=1)), tmp_path / "other.onnx")
    with pytest.raises(UsageError, match="not the model that the bundle was compiled from"):
        verify_bundle(bundle, strict=True, model=tmp_path / "other.onnx")


def test_a_model_with_other_external_weights_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_build, "MEASURE_SECONDS", 0.01)
    given = model(GRAPH, w=random(64, 64))
    ir.save(given, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=1)
    made = tamis.compile(tmp_path / "m.onnx", out=tmp_path / "out", set={"passes": ["canonicalize"]}).path
    record(made, 0.01)
    monkeypatch.setattr(verify_strict, "SECONDS", 0.05)
    verify_bundle(made, strict=True, model=tmp_path / "m.onnx")
    (tmp_path / "m.data").write_bytes(bytes((tmp_path / "m.data").stat().st_size))
    with pytest.raises(UsageError, match="not the model that the bundle was compiled from"):
        verify_bundle(made, strict=True, model=tmp_path / "m.onnx")


def test_other_versions_are_refused(bundle: Path) -> None:
    edit(bundle, "fingerprint", "onnxruntime", "0.1")
    verify_bundle(bundle)
    with pytest.raises(VerificationError, match="bundle was built with"):
        verify_bundle(bundle, strict=True)


def test_warnings_become_errors(bundle: Path) -> None:
    edit(bundle, "machine", "threads", 999)
    assert "999 threads" in verify_bundle(bundle).warnings[0]
    with pytest.raises(VerificationError, match="999 threads"):
        verify_bundle(bundle, strict=True)


def test_model_needs_strict(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(bundle), "--model", "given.onnx"]) == 2
    assert "--strict" in capsys.readouterr().err
