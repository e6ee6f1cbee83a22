"""The loader in a bundle: right without tamis, the same session as ``tamis.load`` opens, the same text each time."""

from __future__ import annotations

import ast
import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import tamis
from tamis.compiler.bundle import MANIFEST, write_npz
from tamis.compiler.cli.app import run
from tamis.compiler.loader.loader_source import LoaderSource
from tamis.compiler.loader.write_loader import LOADER, PARTS, loader_text
from tamis.targets.onnxruntime import loader as onnxruntime_loader
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tamis.targets.tvm import loader as tvm_loader
from tests.compiler.loader.loaders import TARGET, change, feeds, imported, status
from tests.examples.isolated import COMPUTE, run_isolated


def test_it_computes_the_same_bits_without_tamis(built: Path, packages: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", **feeds())
    ran = run_isolated(packages, "-c", COMPUTE, tmp_path / "in.npz", tmp_path / "out.npz", cwd=built)
    assert ran.returncode == 0, ran.stderr
    want = tamis.load(built)(feeds())
    with np.load(tmp_path / "out.npz") as got:
        assert {n: got[n].tobytes() for n in got.files} == {n: a.tobytes() for n, a in want.items()}


def test_verify_runs_without_tamis_and_catches_a_wrong_golden(bundle: Path, packages: Path, tmp_path: Path) -> None:
    ran = run_isolated(packages, bundle / LOADER, "--verify", "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["ok"] and len(report["golden"]) == 6
    spoil_golden(bundle)
    ran = run_isolated(packages, bundle / LOADER, "--verify", cwd=tmp_path)
    assert ran.returncode == 3
    assert "1 of 6 golden outputs are not reproduced" in ran.stderr and "output y of case 1" in ran.stderr


def spoil_golden(folder: Path) -> None:
    """A wrong value, under a right digest."""
    from tamis.compiler.bundle import file_record

    with np.load(folder / "golden.npz") as archive:
        arrays = dict(archive)
    arrays["1/out/y"] = arrays["1/out/y"] * np.float32(1.01)
    write_npz(folder / "golden.npz", arrays)
    record = file_record(folder / "golden.npz").model_dump()
    change(folder, lambda manifest: manifest["files"].update({"golden.npz": record}))


class Opened(Exception):
    """A session was asked for."""


def test_the_session_is_that_of_tamis(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def session(path: str, options: Any, **rest: Any) -> None:
        attributes = ("intra_op_num_threads", "inter_op_num_threads", "graph_optimization_level", "execution_mode")
        keys = ("intra_op.allow_spinning", "force_spinning_stop", "disable_prepacking")
        entries = [f"session.{key}" for key in keys] + ["optimization.disable_specified_optimizers"]
        providers = [p if isinstance(p, str) else p[0] for p in rest["providers"]]
        found = {a: getattr(options, a) for a in attributes} | {e: options.get_session_config_entry(e) for e in entries}
        seen.append({**found, "providers": providers, "fallback": rest["enable_fallback"]})
        raise Opened

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(tamis.LoweringError):
        tamis.load(built)
    module = imported(built)
    with pytest.raises(module.LoaderError):
        module.load()
    assert len(seen) == 2 and seen[0] == seen[1]
    assert seen[1]["session.intra_op.allow_spinning"] == "0"
    assert "MatMulAddFusion" in seen[1]["optimization.disable_specified_optimizers"]
    assert seen[1]["graph_optimization_level"] == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC


def test_golden_arrays_come_out_as_raw_files(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "raw"
    assert status(built, "--dump-golden", str(out)) == 0
    lines = (out / "bundle.txt").read_text().splitlines()
    assert f"model {built}/model.onnx" in lines and "threads 1" in lines and "optimization 1" in lines
    with np.load(built / "golden.npz") as arrays:
        wanted = arrays["0/in/x"]
    words = next(line.split() for line in lines if line.startswith("in 0 ") and line.endswith(" x"))
    assert words == ["in", "0", "float32", "2", *map(str, wanted.shape), words[-2], "x"]
    assert (out / words[-2]).read_bytes() == wanted.tobytes()
    assert status(built, "--dump-golden", str(out)) == 2
    assert status(built, "--dump-golden", str(tmp_path / "no" / "raw")) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_the_same_build_gives_the_same_text(built: Path, recipe: Path, tmp_path: Path) -> None:
    set_ = {"targets": [TARGET]}
    again = tamis.compile(recipe=recipe, out=tmp_path / "again", with_loader=True, force=True, set=set_).path
    for file in (LOADER, MANIFEST):
        assert (again / file).read_bytes() == (built / file).read_bytes()
    plain = tamis.compile(recipe=recipe, out=tmp_path / "again", set=set_).path
    assert not (plain / LOADER).exists()


def test_the_command_has_an_option_for_it(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compile", recipe, "-o", tmp_path / "out", "--set", "passes.canonicalize.guard=off", "--json"]
    assert run([str(a) for a in (*arguments, "--with-loader")]) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert LOADER in report["report"]["files"]
    assert status(tmp_path / "out", "--verify") == 0


def test_a_zip_holds_the_loader_for_its_unpacked_folder(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    tamis.compile(recipe=recipe, out=out, with_loader=True, set={"targets": [TARGET]})
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert status(tmp_path / "unpacked", "--verify") == 0
    module = imported(tmp_path / "unpacked")
    with pytest.raises(module.LoaderError, match="unpack the bundle"):
        module.load(out)


def test_a_runtime_without_a_loader_is_said_and_nothing_is_written(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxRuntime, "loader_source", lambda artifact: None)
    with pytest.raises(tamis.UsageError, match="onnxruntime has no loader"):
        tamis.compile(recipe=recipe, out=tmp_path / "out", with_loader=True, force=True, set={"targets": [TARGET]})
    assert list(tmp_path.iterdir()) == []


def test_any_runtime_can_give_its_part(bundle: Path) -> None:
    text = """
class Doubler:
    inputs = (("x", "float32", ("N", 4)), ("at", "int64", (1,)))
    outputs = ("y",)

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, feeds):
        return {"y": feeds["x"] * self.factor}


def opened(path, settings):
    return Doubler(settings["factor"])
"""
    made = loader_text(LoaderSource(text, {"factor": 2}))
    (bundle / LOADER).write_text(made)
    x = np.ones((1, 4), np.float32)
    found = imported(bundle, "doubled").load(check=False)({"x": x, "at": np.array([0])})
    assert found["y"].tolist() == [[2.0] * 4]


@pytest.mark.parametrize("parts", [onnxruntime_loader.PARTS, tvm_loader.PARTS], ids=["onnxruntime", "tvm"])
def test_no_part_takes_a_name_of_another(parts: tuple[str, ...]) -> None:
    seen: dict[str, str] = {}
    for name in (*PARTS, *parts):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        for node in ast.parse(Path(spec.origin).read_text()).body:
            for defined in names_of(node):
                assert seen.setdefault(defined, ast.dump(node)) == ast.dump(node), f"{name}: {defined}"


def names_of(node: ast.stmt) -> list[str]:
    """Names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
