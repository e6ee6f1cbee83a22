"""Every kind of bad input ends in one error of ours, the right status, no traceback and no output."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.conftest import Command


def edit(old: str, new: str) -> Callable[[Path], None]:
    """Replace text in the recipe."""

    def change(folder: Path) -> None:
        text = (folder / "recipe.yaml").read_text()
        assert old in text
        (folder / "recipe.yaml").write_text(text.replace(old, new))

    return change


def truncate(name: str, keep: float) -> Callable[[Path], None]:
    """Cut a file short."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return change


def write(name: str, data: bytes) -> Callable[[Path], None]:
    """Replace a file."""
    return lambda folder: void((folder / name).write_bytes(data))


def void(value: object) -> None:
    """Drop a result."""


def calibration(array: object, name: str = "x") -> Callable[[Path], None]:
    """Other calibration data."""
    return lambda folder: np.savez(folder / "calibration.npz", **{name: np.asarray(array)})  # type: ignore[arg-type]


def external(location: str) -> Callable[[Path], None]:
    """Move the weights of the model to an external file at ``location``."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / "tiny.onnx")
        weight = next(t for t in model.graph.initializer if t.name == "W")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.ClearField("raw_data")
        weight.ClearField("float_data")
        weight.external_data.add(key="location", value=location)
        (folder.parent / "secret.bin").write_bytes(bytes(432))
        (folder / "tiny.onnx").write_bytes(model.SerializeToString())

    return change


def bad_floats() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    x = np.zeros((2, 3, 8, 8), np.float32)
    x[1, 2, 3, 4] = np.nan
    return x


ZEROS = np.zeros((2, 3, 8, 8), np.float32)

CASES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "typo in a key": (edit("inputs:", "inptus:"), "T101", r"recipe.yaml:3:1: .*inptus.*inputs"),
    "typo in an option": (edit("- canonicalize", "- canonicalize: {on_violaton: skip}"), "T101", "on_violation"),
    "wrong type of an option": (edit("- canonicalize", "- canonicalize: {guard: 7}"), "T101", r"recipe.yaml:9:\d+"),
    "unknown pass": (edit("- canonicalize", "- cannonicalize"), "T102", r"recipe.yaml:9:5: .*'canonicalize'"),
    "unknown metric": (edit("metric: accuracy", "metric: acuracy"), "T102", "accuracy"),
    "not YAML": (edit("inputs:", "inputs: ]"), "T101", r"recipe.yaml:3:\d+"),
    "no such model": (edit("tiny.onnx", "tiney.onnx"), "T103", "tiney.onnx"),
    "no such data": (edit("npz: calibration.npz", "npz: calib.npz"), "T104", "calib.npz"),
    "truncated model": (truncate("tiny.onnx", 0.7), "T103", "tiny.onnx"),
    "empty model": (write("tiny.onnx", b""), "T103", "tiny.onnx"),
    "not a model": (write("tiny.onnx", b"GIF89a" * 100), "T103", "tiny.onnx"),
    "weights outside the folder": (external("../secret.bin"), "T103", "secret.bin"),
    "weights at an absolute path": (external("/etc/passwd"), "T103", "passwd"),
    "weights missing": (external("gone.bin"), "T103", "gone.bin"),
    "input that does not exist": (edit("  x: {", "  xs: {"), "T101", "'x'"),
    "shape against the graph": (edit("[1, 3, 8, 8]", "[1, 4, 8, 8]"), "T101", "x"),
    "data of the wrong shape": (calibration(np.zeros((2, 3, 9, 8), np.float32)), "T104", "calibration.npz"),
    "data of the wrong rank": (calibration(np.zeros((2, 8), np.float32)), "T104", "calibration.npz"),
    "data of the wrong dtype": (calibration(np.zeros((2, 3, 8, 8), np.int32)), "T104", "int32"),
    "data with NaN": (calibration(bad_floats()), "T104", "NaN|finite"),
    "data for another input": (calibration(ZEROS, "image"), "T104", "image"),
    "data that is damaged": (truncate("calibration.npz", 0.5), "T104", "calibration.npz"),
    "empty data": (calibration(np.zeros((0, 3, 8, 8), np.float32)), "T104", "calibration.npz"),
    "metric without labels": (edit("npz: evaluation.npz", "npz: calibration.npz"), "T104", "labels"),
    "accuracy budget without data": (
        edit("  evaluation: {npz: evaluation.npz, metric: accuracy}\n", "budget: {accuracy: {max_drop: 0.1}}\n"),
        "T101|T201",
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gives_one_error_and_no_output(tamis: Command, project: Path, case: str) -> None:
    change, code, message = CASES[case]
    change(project)
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status == 2, ran
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    assert re.search(rf"^tamis: error ({code}): ", lines[0]), ran.err
    assert re.search(message, lines[0]), ran.err
    assert "Traceback" not in ran.err
    assert not (project / "out").exists()
    assert not [p for p in project.iterdir() if p.name.startswith(".out")]


def test_the_same_error_as_json(tamis: Command, project: Path) -> None:
    import json

    edit("- canonicalize", "- cannonicalize")(project)
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--json")
    error = json.loads(ran.out)["error"]
    assert ran.status == error["exit_code"] == 2
    assert error["code"] == "T102"
    assert "recipe.yaml:9:5" in error["where"]


def test_an_unwritable_output_folder(tamis: Command, project: Path) -> None:
    (project / "file").write_text("")
    ran = tamis("compile", "recipe.yaml", "-o", "file/out", "--quiet")
    assert ran.status == 2
    assert ran.err.startswith("tamis: error T105: ")


def test_an_output_folder_with_foreign_files(tamis: Command, project: Path) -> None:
    (project / "out").mkdir()
    (project / "out" / "thesis.tex").write_text("precious")
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status == 2
    assert "not made by tamis" in ran.err
    assert [p.name for p in (project / "out").iterdir()] == ["thesis.tex"]


def test_a_machine_of_another_kind_is_unavailable(tamis: Command, project: Path) -> None:
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet", "--target", "cortex-a72")
    assert ran.status == 4
    assert ran.err.startswith("tamis: error T450: target cortex-a72")
    assert not (project / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("compile",), 2),
        (("compile", "nowhere.yaml", "-o", "out"), 2),
        (("compile", "tiny.onnx", "-o", "out"), 2),
        (("compile", "tiny.onnx", "-r", "losless", "-o", "out"), 2),
        (("frobnicate",), 2),
        (("run", "tiny.onnx", "-i", "x=nowhere.npy"), 2),
        (("run", "nowhere.onnx", "-i", "x=nowhere.npy"), 2),
        (("verify", "nowhere"), 2),
        (("verify", "tiny.onnx"), 2),
        (("explain", "canonicalise"), 2),
        (("list", "passess"), 2),
        (("bench", "tiny.onnx", "nowhere.onnx"), 2),
    ],
)
def test_usage_errors(tamis: Command, project: Path, arguments: tuple[str, ...], status: int) -> None:
    ran = tamis(*arguments)
    assert ran.status == status, ran
    assert ran.err
    assert "Traceback" not in ran.err


def test_ctrl_c_leaves_nothing(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tamis.compiler import target_build

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(target_build, "write_golden", interrupt)
    before = sorted(p.name for p in project.iterdir())
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status == 130
    assert sorted(p.name for p in project.iterdir()) == before


def test_a_full_disk_leaves_nothing(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from tamis.compiler import target_build

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(target_build, "write_golden", full)
    before = sorted(p.name for p in project.iterdir())
    ran = tamis("compile", "recipe.yaml", "-o", "out", "--quiet")
    assert ran.status == 5
    assert ran.err.startswith("tamis: error T503: ")
    assert sorted(p.name for p in project.iterdir()) == before
