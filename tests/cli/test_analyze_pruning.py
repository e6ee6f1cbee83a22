"""``tamis analyze --pruning`` through the command line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.cli.conftest import Command
from tests.models import model, random

NET = """g (float[{sizes}] x) => (float[{sizes}] y) {{
    [c1] a = Conv <pads = [1, 1, 1, 1]> (x, w)
    [r] b = Relu(a)
    [c2] y = Conv <pads = [1, 1, 1, 1]> (b, v)
}}"""


def _write(name: str, sizes: str) -> None:
    ir.save(model(NET.format(sizes=sizes), w=random(32, 3, 3, 3), v=random(3, 32, 3, 3)), name)


@pytest.fixture(autouse=True)
def _net(project: Path) -> None:
    _write(str(project / "net.onnx"), "1,3,8,8")
    np.savez(project / "data.npz", x=random(4, 3, 8, 8))


@pytest.fixture(autouse=True)
def _inside(tamis: Command) -> None:
    """The working directory is that of the command."""


def test_samples_are_not_needed(tamis: Command) -> None:
    ran = tamis("analyze", "net.onnx", "--pruning")
    assert ran.status == 0, ran
    assert "32 units in 1 groups" in ran.out and "none; add --data" in ran.out
    assert "MACs/block" in ran.out and "loss 50 %" not in ran.out


def test_samples_add_columns(tamis: Command) -> None:
    ran = tamis("analyze", "net.onnx", "--pruning", "--data", "data.npz")
    assert ran.status == 0, ran
    assert "loss 50 %" in ran.out and "never active" in ran.out and "add --data" not in ran.out


def test_json(tamis: Command) -> None:
    found = json.loads(tamis("analyze", "net.onnx", "--pruning", "--data", "data.npz", "--samples", "2", "--json").out)
    assert found["analysis"] == "pruning"
    [group] = found["groups"]
    assert group["group"] == "c1" and group["units"] == 32 and len(group["activity"]["per_unit"]) == 32
    assert found["multiple"] > 1 and found["whole"]["MACs"] == 2 * 64 * 32 * 27


def test_sizes_of_inputs_may_stay_open(tamis: Command) -> None:
    _write("open.onnx", "N,3,H,W")
    ran = tamis("analyze", "open.onnx", "--pruning")
    assert ran.status == 0, ran
    assert "32 units in 1 groups" in ran.out and "add --shape x=1,3,?,?" in ran.out


def test_plot(tamis: Command) -> None:
    """Written where matplotlib is installed; elsewhere the command says how to install it."""
    ran = tamis("analyze", "net.onnx", "--pruning", "--plot", "groups.svg")
    if importlib.util.find_spec("matplotlib") is None:
        assert ran.status == 2 and "tamis[report]" in ran.err
        return
    assert ran.status == 0, ran
    assert "MACs that a block saves" in Path("groups.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--pruning", "--quantization"), "both --quantization and --pruning"),
        (("--pruning", "--data", "nowhere.npz"), "no such file"),
        (("--samples", "2"), "go with --quantization and --pruning only"),
    ],
)
def test_refusals(tamis: Command, arguments: tuple[str, ...], text: str) -> None:
    ran = tamis("analyze", "net.onnx", *arguments)
    assert ran.status == 2 and text in ran.err
