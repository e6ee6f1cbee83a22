"""``tamis explain MODEL --pass NAME``: what a pass would do, and why not more."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Command

SWISH = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 4, H, 8] x) => (float[N, 4, H, 8] y, float[N, 4, H, 8] z, float[N, 4, H, 8] w)
<float three = {3}, float six = {6}, float zero = {0}, float five = {5}> {
    a1 = Add(x, three)
    c1 = Clip(a1, zero, six)
    m1 = Mul(x, c1)
    y = Div(m1, six)
    a2 = Add(x, five)
    c2 = Clip(a2, zero, five)
    [close] m2 = Mul(x, c2)
    [almost] z = Div(m2, six)
    [same] w = Identity(y)
}"""


@pytest.fixture
def swish(project: Path) -> Path:
    """A model with one hard swish, and one that is not quite."""
    onnx.save(onnx.parser.parse_model(SWISH), project / "swish.onnx")
    return project / "swish.onnx"


def test_matches_and_near_misses(tamis: Command, swish: Path) -> None:
    ran = tamis("explain", swish, "--pass", "fuse-hard-swish", "--shape", "x=1,4,6,8", "--json")
    assert ran.status == 0, ran
    found = json.loads(ran.out)
    assert (found["graph"], found["hint"], found["counts"]) == ("canonicalized", None, {"fused": 1})
    assert {"reason": "the upper bound is 0.833333, not 1", "count": 1, "nodes": ["almost"]} in found["near_misses"]
    ran = tamis("explain", swish, "--pass", "fuse-hard-swish", "--shape", "x=1,4,6,8")
    assert "canonicalized" in ran.out
    assert "1 fused" in ran.out
    assert "the upper bound is 0.833333, not 1" in ran.out
    assert "almost" in ran.out


def test_the_model_need_not_have_known_sizes(tamis: Command, swish: Path) -> None:
    ran = tamis("explain", swish, "--pass", "fuse-hard-swish")
    assert ran.status == 0, ran
    assert "--shape x=1,4,?,8" in ran.out


def test_as_is(tamis: Command, swish: Path) -> None:
    found = json.loads(tamis("explain", swish, "--pass", "canonicalize", "--json").out)
    assert found["graph"] == "as it is"
    assert found["counts"], "canonicalize has something to do only in the graph of the file"
    found = json.loads(tamis("explain", swish, "--pass", "fuse-hard-swish", "--as-is", "--json").out)
    assert found["graph"] == "as it is"


def test_a_pass_of_a_runtime(tamis: Command, project: Path) -> None:
    ran = tamis("explain", "tiny.onnx", "--pass", "affine-to-batch-norm", "--json")
    assert ran.status == 0, ran
    assert json.loads(ran.out)["counts"] == {}


def test_many_nodes_are_counted_and_some_named(tamis: Command, project: Path) -> None:
    body = "\n".join(f"[n{i}] v{i + 1} = Add(v{i}, one)" for i in range(8))
    text = f'<ir_version: 8, opset_import: ["" : 17]>\ng (float[1, 4, 8, 8] v0) => (float[1, 4, 8, 8] v8)\n<float one = {{1}}> {{\n{body}\n}}'
    onnx.save(onnx.parser.parse_model(text), project / "adds.onnx")
    ran = tamis("explain", "adds.onnx", "--pass", "affine-to-batch-norm", "--top", "3")
    assert "not behind a convolution" in ran.out
    assert "and 5 more" in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("tiny.onnx", "--pass", "fuse-hard-swich"), "T102", "did you mean 'fuse-hard-swish'"),
        (("tiny.onnx", "--pass", "affine-to-batch-nrom"), "T102", "did you mean 'affine-to-batch-norm'"),
        (("tiny.onnx",), "T100", "add --pass NAME"),
        (("fuse-silu", "--as-is"), "T100", "--pass"),
        (("nowhere.onnx", "--pass", "fuse-silu"), "T103", "no such model file"),
        (("recipe.yaml", "--pass", "fuse-silu"), "T103", "not an ONNX model"),
        (("tiny.onnx", "--pass", "fuse-silu", "--shape", "x=1"), "T101", "x"),
    ],
)
def test_errors_are_ours(tamis: Command, project: Path, arguments: tuple[str, ...], code: str, words: str) -> None:
    ran = tamis("explain", *arguments)
    assert ran.status == 2, ran
    assert ran.err.startswith(f"tamis: error {code}: ")
    assert words in ran.err
    assert len(ran.err.strip().splitlines()) == 1
