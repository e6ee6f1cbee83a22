"""``compile``, ``plan`` and what can be done with a bundle, on a tiny model, through the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import tamis as package
from tamis.compiler.bundle import MEASUREMENTS, open_bundle
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure for a moment only: these tests are not about speed."""
    monkeypatch.setattr("tamis.compiler.target_build.MEASURE_SECONDS", 0.05)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the measurements."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != MEASUREMENTS}


def test_a_recipe_becomes_a_bundle(tamis: Command, project: Path) -> None:
    ran = tamis("compile", "recipe.yaml", "-o", "out")
    assert ran.status == 0, ran
    made = open_bundle(project / "out").report
    assert [(s.name, s.verdict) for s in made.steps][:2] == [("canonicalize", "kept"), ("fold-conv-affine", "kept")]
    ops = [n.op_type for n in onnx.load(project / "out" / "model.onnx").graph.node]
    assert ops == ["Conv", "Relu", "GlobalAveragePool", "Flatten"]
    assert made.accuracy is not None
    assert made.accuracy.before == made.accuracy.after
    assert made.steps[1].tolerance_needed is not None
    assert made.steps[1].tolerance_needed < 1e-5
    assert "kept" in ran.out
    assert tamis("verify", "out").status == 0


def test_the_same_build_gives_the_same_bytes(tamis: Command, project: Path) -> None:
    for out in ("a", "b"):
        assert tamis("compile", "recipe.yaml", "-o", out, "--quiet").status == 0
    assert contents(project / "a") == contents(project / "b")
    for out in ("a.zip", "b.zip"):
        assert tamis("compile", "recipe.yaml", "-o", out, "--quiet").status == 0
    from zipfile import ZipFile

    with ZipFile(project / "a.zip") as a, ZipFile(project / "b.zip") as b:
        assert {n: a.read(n) for n in a.namelist() if n != MEASUREMENTS} == contents(project / "a")
        assert {n: b.read(n) for n in b.namelist() if n != MEASUREMENTS} == contents(project / "a")


def test_the_recipe_in_the_manifest_compiles_again(tamis: Command, project: Path) -> None:
    assert tamis("compile", "recipe.yaml", "-o", "a", "--quiet").status == 0
    (project / "again.yaml").write_text(json.dumps(json.loads((project / "a" / "bundle.json").read_text())["recipe"]))
    assert tamis("compile", "again.yaml", "-o", "b", "--quiet").status == 0
    assert contents(project / "a") == contents(project / "b")


def test_a_model_and_a_shipped_recipe(tamis: Command, project: Path) -> None:
    ran = tamis(
        "compile", "tiny.onnx", "-r", "lossless", "-o", "out.zip", "--json", "--set", "inputs.x.shape=[2,3,8,8]"
    )
    assert ran.status == 0, ran
    made = json.loads(ran.out)[0]["report"]
    assert made["inputs"]["x"]["shape"] == [2, 3, 8, 8]
    assert tamis("verify", "out.zip").status == 0


def test_eight_bits_need_samples(tamis: Command, project: Path) -> None:
    arguments = ("compile", "tiny.onnx", "-r", "int8", "-o", "eight", "--quiet")
    ran = tamis(*arguments)
    assert (ran.status, (project / "eight").exists()) == (2, False), ran
    assert "T201" in ran.err and "pass quantize-static: there are no calibration samples" in ran.err
    np.savez("samples.npz", x=np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32))
    ran = tamis(*arguments, "--calibration", "samples.npz", "--set", "passes.quantize-static.guard=off")
    assert ran.status == 0, ran
    made = {step.name: step for step in open_bundle(project / "eight").report.steps}["quantize-static"]
    assert (made.verdict, made.counts["Conv quantized"]) == ("kept", 1)
    operators = Counter(node.op_type for node in ir.load(project / "eight" / "model.onnx").graph)
    assert operators["QuantizeLinear"] >= 2
    assert tamis("verify", "eight").status == 0


def test_a_budget_that_is_missed(tamis: Command, project: Path) -> None:
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet", "--set", "budget.size.max_mb=0.0001")
    assert ran.status == 1
    assert "budget.size.max_mb: wanted at most 0.0001 MB, got 0.00" in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not (project / "out").exists()
    assert str(project / "out.missed") in ran.err
    assert tamis("verify", "out.missed").status == 0


def test_a_changed_file_is_noticed(tamis: Command, project: Path) -> None:
    assert tamis("compile", "recipe.yaml", "-o", "out", "--quiet").status == 0
    model = project / "out" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    ran = tamis("verify", "out")
    assert ran.status == 2
    assert "model.onnx was changed" in ran.err


def test_wrong_answers_are_noticed(tamis: Command, project: Path) -> None:
    """A model with one weight changed and its digest made to fit: only the golden outputs can tell."""
    assert tamis("compile", "recipe.yaml", "-o", "out", "--quiet").status == 0
    path = project / "out" / "model.onnx"
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    values = np.frombuffer(weight.raw_data, np.float32).copy()
    values[:9] *= -1
    weight.raw_data = values.tobytes()
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((project / "out" / "bundle.json").read_text())
    from tamis.compiler.bundle import file_record

    manifest["files"]["model.onnx"] = file_record(path).model_dump()
    (project / "out" / "bundle.json").write_text(json.dumps(manifest))
    ran = tamis("verify", "out")
    assert ran.status == 3, ran
    assert "golden outputs are not reproduced" in ran.err


def test_plan_does_nothing(tamis: Command, project: Path) -> None:
    before = sorted(project.iterdir())
    ran = tamis("plan", "recipe.yaml", "--json")
    made = json.loads(ran.out)
    assert [s["name"] for s in made["targets"][0]["steps"]] == ["canonicalize", "fold-conv-affine"]
    assert made["calibration_samples"] == 6
    assert tamis("plan", "recipe.yaml", "--target", "cortex-a72").status == 0
    assert sorted(project.iterdir()) == before


def test_run_compare_bench_and_bisect(tamis: Command, project: Path) -> None:
    assert tamis("compile", "recipe.yaml", "-o", "out", "--quiet").status == 0
    np.save(project / "x.npy", np.ones((1, 3, 8, 8), np.float32))
    assert tamis("run", "out", "-i", "x.npy", "-o", "y.npz").status == 0
    with np.load(project / "y.npz") as outputs:
        y = outputs["y"]
    assert y.shape == (1, 4)
    assert np.array_equal(package.load(project / "out")({"x": np.ones((1, 3, 8, 8), np.float32)})["y"], y)
    assert tamis("compare", "tiny.onnx", "out", "--tolerance", "1e-5").status == 0
    ran = tamis("bench", "tiny.onnx", "out", "--seconds", "0.1", "--json")
    assert ran.status == 0, ran
    assert json.loads(ran.out)["verdict"] in ("faster", "slower", "undecided")
    ran = tamis("bisect", "tiny.onnx", "out/model.onnx")
    assert ran.status == 0, ran
    assert "no value that both models have differs" in ran.out


def test_compare_and_bisect_name_what_differs(tamis: Command, project: Path) -> None:
    model = onnx.load(project / "tiny.onnx")
    weight = next(t for t in model.graph.initializer if t.name == "shift")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.array([1.1, 0.2, 0.3, 0.4], np.float32), "shift"))
    onnx.save(model, project / "wrong.onnx")
    ran = tamis("compare", "tiny.onnx", "wrong.onnx", "--tolerance", "1e-5", "--shape", "x=1,3,8,8")
    assert ran.status == 3
    assert ran.err.startswith("tamis: error T300: ")
    ran = tamis("bisect", "tiny.onnx", "wrong.onnx", "--shape", "x=1,3,8,8")
    assert "BatchNormalization" in ran.out


def test_from_python(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAMIS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(project)
    bundle = package.compile(
        "tiny.onnx",
        recipe="lossless",
        out="out",
        target="host",
        data={"calibration": "calibration.npz"},
        set={"passes.fold-conv-affine.on_violation": "skip"},
    )
    assert "fold-conv-affine" in {step.name for step in bundle.report.steps}
    assert package.verify("out").bundle.report == bundle.report
    with pytest.raises(package.RecipeError):
        package.compile("tiny.onnx", set={"passes.fold-conv-afine.on_violation": "skip"}, out="out2")


def test_two_targets_make_two_bundles(tamis: Command, project: Path) -> None:
    text = (project / "recipe.yaml").read_text()
    targets = (
        "targets:\n  - host\n  - {machine: host, name: one-thread, options: {threads: 1}, passes: [canonicalize]}\n"
    )
    (project / "recipe.yaml").write_text(text + targets)
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status == 0, ran
    assert sorted(p.name for p in (project / "out").iterdir()) == ["host", "one-thread"]
    assert [s.name for s in open_bundle(project / "out" / "one-thread").report.steps][:1] == ["canonicalize"]
    assert tamis("compile", "recipe.yaml", "-o", "out.zip", "--quiet").status == 2
    assert tamis("verify", "out").status == 2
    assert tamis("verify", "out/host").status == 0


def test_tuning_is_remembered(tamis: Command, project: Path) -> None:
    (project / "recipe.yaml").write_text(
        (project / "recipe.yaml").read_text() + "targets:\n  - {machine: host, tune: {seconds: 1}}\n"
    )
    assert tamis("compile", "recipe.yaml", "-o", "a", "--quiet").status == 0
    assert tamis("compile", "recipe.yaml", "-o", "b", "--quiet").status == 0
    assert open_bundle(project / "a").measurements["tuning"]["reused"] is False
    assert open_bundle(project / "b").measurements["tuning"]["reused"] is True
    assert "tune" not in open_bundle(project / "b").measurements["seconds"]
    assert contents(project / "a") == contents(project / "b")
    assert "onnxruntime-settings" in tamis("cache", "ls").out
    assert tamis("cache", "export", "records.jsonl").status == 0
    assert tamis("cache", "clear").status == 0
    assert "onnxruntime-settings" not in tamis("cache", "ls").out
    assert tamis("cache", "import", "records.jsonl").status == 0
    assert tamis("compile", "recipe.yaml", "-o", "c", "--quiet").status == 0
    assert open_bundle(project / "c").measurements["tuning"]["reused"] is True
    assert contents(project / "a") == contents(project / "c")


def test_catalogue_commands(tamis: Command) -> None:
    for kind in ("passes", "targets", "recipes", "machines", "metrics", "errors"):
        rows = json.loads(tamis("list", kind, "--json").out)
        assert rows, kind
        for row in rows[:3]:
            ran = tamis("explain", row["name"])
            assert ran.status == 0, ran
            assert len(ran.out) > 100
    assert json.loads(tamis("doctor", "--json").out)["runtimes"] == {
        "onnxruntime": "available",
        "tvm": "available",
    }
    assert tamis("doctor").status == 0
    assert tamis("--version").out == f"tamis {package.__version__}\n"


def test_outputs_that_are_texts(tamis: Command, project: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        texts (float[2] x) => (string[2] y, float[2] z) { z = Relu(x)
          y = Cast<to = 8>(z) }""")
    onnx.save(model, project / "texts.onnx")
    assert tamis("compile", "texts.onnx", "-r", "lossless", "-o", "texts", "-q").status == 0
    ran = tamis("verify", "texts", "--json")
    assert ran.status == 0, ran
    assert {replay["output"] for replay in json.loads(ran.out)["golden"]} == {"y", "z"}


def test_a_signed_bundle(tamis: Command, project: Path) -> None:
    assert tamis("compile", "recipe.yaml", "-o", "out", "-q").status == 0
    for name in ("ours", "others"):
        assert tamis("keygen", name, "--no-password").status == 0
    unsigned = tamis("verify", "out", "--public-key", "ours.pub")
    assert (unsigned.status, "not signed" in unsigned.err) == (3, True)
    assert tamis("sign", "out", "--key", "ours.key").status == 0
    ran = tamis("verify", "out", "--public-key", "ours.pub")
    assert (ran.status, "by key" in ran.out) == (0, True), ran
    assert tamis("verify", "out", "--public-key", "others.pub").status == 3
    assert "up to date" in tamis("compile", "recipe.yaml", "-o", "out", "-q").out
    assert tamis("verify", "out", "--public-key", "ours.pub").status == 0
