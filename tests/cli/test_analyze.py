"""``tamis analyze`` on tiny models, through the command line."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.conftest import Command

QUICK = ("--seconds", "0.1", "--threads", "1")
DYNAMIC = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3, H, 8] x) => (float[N, 4, H, 8] y) <float[4, 3, 1, 1] w = {1,2,3,4,5,6,7,8,9,10,11,12}> { y = Conv(x, w) }"""


def write(text: str, name: str = "dynamic.onnx") -> None:
    onnx.save(onnx.parser.parse_model(text), name)


def test_costs_times_and_the_roofline(tamis: Command, project: Path) -> None:
    ran = tamis("analyze", "tiny.onnx", "--json", *QUICK)
    assert ran.status == 0, ran
    found = json.loads(ran.out)
    assert found["macs"] == 4 * 64 * 27, "the dead Exp is gone, the batch is 1"
    assert found["parameters"] == 108 + 4 * 4
    assert found["hint"] is None
    assert found["nanoseconds"] > 0
    assert found["outside_share"] == pytest.approx(sum(found["outside_by_kind"].values()))
    assert 0 <= found["outside_share"] <= 1
    assert found["roofline"]["peak"] > 0
    (conv,) = (row for row in found["by_kind"] if row["kind"] == "Conv")
    assert conv["macs"] == found["macs"]
    assert sum(row["nanoseconds"] for row in found["by_node"]) == pytest.approx(found["nanoseconds"])


def test_the_tables(tamis: Command, project: Path) -> None:
    ran = tamis("analyze", "tiny.onnx", *QUICK)
    assert ran.status == 0, ran
    assert "outside the roofline" in ran.out
    assert "6,912" in ran.out
    ran = tamis("analyze", "tiny.onnx", "--by", "node", "--level", "as-written", "--top", "2", *QUICK)
    assert ran.status == 0, ran
    assert "3 more rows; --top 5 shows all" in ran.out
    assert "as-written" in ran.out


def test_each_node_as_written_has_its_row(tamis: Command, project: Path) -> None:
    found = json.loads(tamis("analyze", "tiny.onnx", "--level", "as-written", "--json", *QUICK).out)
    kinds = [row["kind"] for row in found["by_node"]]
    assert kinds == ["Conv", "BatchNormalization", "Relu", "GlobalAveragePool", "Flatten"]


def test_the_ceilings_are_remembered(tamis: Command, project: Path) -> None:
    first, second = (json.loads(tamis("analyze", "tiny.onnx", "--json", *QUICK).out)["roofline"] for _ in range(2))
    assert first == second
    assert "roofline" in tamis("cache", "ls").out


def test_unknown_sizes_are_question_marks_with_a_hint(tamis: Command, project: Path) -> None:
    write(DYNAMIC)
    ran = tamis("analyze", "dynamic.onnx")
    assert ran.status == 0, ran
    assert "?" in ran.out
    assert "Nothing was measured" in ran.out
    assert "--shape x=1,3,?,8" in ran.out
    found = json.loads(tamis("analyze", "dynamic.onnx", "--json").out)
    assert (found["macs"], found["nanoseconds"], found["hint"]) == (None, None, "add --shape x=1,3,?,8")
    found = json.loads(tamis("analyze", "dynamic.onnx", "--shape", "x=2,3,5,8", "--json", *QUICK).out)
    assert found["macs"] == 2 * 4 * 40 * 3


def test_inputs_of_the_user(tamis: Command, project: Path) -> None:
    write(DYNAMIC)
    np.save("x.npy", np.ones((1, 3, 7, 8), np.float32))
    found = json.loads(tamis("analyze", "dynamic.onnx", "-i", "x.npy", "--json", *QUICK).out)
    assert found["macs"] == 4 * 56 * 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nowhere.onnx",), "T103"),
        (("recipe.yaml",), "T103"),
        (("tiny.onnx", "--shape", "x=1,3"), "T101"),
        (("tiny.onnx", "--shape", "y=1,3,8,8"), "T101"),
        (("tiny.onnx", "--shape", "x=one"), "T100"),
        (("tiny.onnx", "-i", "gone.npy"), "T104"),
        (("tiny.onnx", "--plot", "roofline.gif"), "T100"),
    ],
)
def test_errors_are_ours(tamis: Command, project: Path, arguments: tuple[str, ...], code: str) -> None:
    ran = tamis("analyze", *arguments, *QUICK)
    assert ran.status == 2, ran
    assert ran.err.startswith(f"tamis: error {code}: ")
    assert len(ran.err.strip().splitlines()) == 1


def test_a_plot_without_matplotlib(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    ran = tamis("analyze", "tiny.onnx", "--plot", "roofline.svg", *QUICK)
    assert ran.status == 2
    assert "pip install 'tamis[report]'" in ran.err
    assert not Path("roofline.svg").exists()


@pytest.mark.parametrize(("name", "magic"), [("roofline.svg", b"<?xml"), ("roofline.png", b"\x89PNG")])
def test_a_plot(tamis: Command, project: Path, name: str, magic: bytes) -> None:
    """Written where matplotlib is installed; elsewhere the command says how to install it."""
    ran = tamis("analyze", "tiny.onnx", "--plot", name, *QUICK)
    if importlib.util.find_spec("matplotlib") is None:
        assert ran.status == 2
        return
    assert ran.status == 0, ran
    assert Path(name).read_bytes().startswith(magic)
