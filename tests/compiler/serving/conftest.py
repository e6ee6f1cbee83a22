"""A bundle with inputs of many types, and a server of it in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import pytest

import tamis
from tamis.compiler import target_build

SOURCE = Path(__file__).parents[3] / "src"
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "double")
ARGUMENTS = ", ".join(f"{d}[N, 2] {d}_in" for d in DTYPES)
RESULTS = ", ".join(f"{d}[N, 2] {d}_out" for d in DTYPES)
COPIES = "\n".join(f"    {d}_out = Identity({d}_in)" for d in DTYPES)
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) {
    y = Sigmoid(x)
    z = Log(x)
}
"""
COPY = f"""
<ir_version: 8, opset_import: ["" : 17]>
copy ({ARGUMENTS}) => ({RESULTS}) {{
{COPIES}
}}
"""


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles ``net`` and ``copy.zip``."""
    folder = tmp_path_factory.mktemp("serving")
    out = folder / "out"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target_build, "MEASURE_SECONDS", 0.01)
        patch.setenv("TAMIS_CACHE_DIR", str(folder / "cache"))
        for name, text, inputs, made in (
            ("net", MODEL, "{x: {shape: [N, 4], N: [1, 3], range: [0.5, 1]}}", "net"),
            ("copy", COPY, "{" + ", ".join(f"{d}_in: {{shape: [1, 2]}}" for d in DTYPES) + "}", "copy.zip"),
        ):
            ir.save(ir.from_onnx_text(text), folder / f"{name}.onnx")
            recipe = folder / f"{name}.yaml"
            recipe.write_text(f"version: 1\nmodel: {name}.onnx\ninputs: {inputs}\npasses: [canonicalize]\n")
            tamis.compile(recipe=recipe, out=out / made)
    return out


@pytest.fixture(scope="session")
def address(bundles: Path) -> Iterator[str]:
    """Host and port of a server of both; it is ended by SIGTERM and must end well."""
    command = [sys.executable, "-m", "tamis", "serve", str(bundles), "--port", "0", "--json", "--max-request-mb", "1"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            printed = ""
            while not printed.endswith("}\n"):
                line = process.stdout.readline()
                assert line, printed
                printed += line
            found = json.loads(printed)
            assert found["models"] == ["copy", "net"]
            yield str(found["address"]).removeprefix("http://")
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
