"""A runtime on top of ONNX's reference evaluator, and its test."""

from __future__ import annotations

RUNTIME_PACKAGE = '''"""The runtime ``${name}``."""
'''

RUNTIME = '''"""Run models node by node with the reference evaluator of ONNX. (An example: put your own runtime in its place.)"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from pydantic import JsonValue

from tamis.compiler.errors import LoweringError, RuntimeFailureError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Machine
from tamis.compiler.target import Artifact, Runtime, RuntimeOptions
from tamis.compiler.tuning_database import TuningDatabase

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

FILE = "model.onnx"


class Options(RuntimeOptions):
    """Options of ``${name}``."""


class EvaluatorRunner:
    """A loaded model."""

    def __init__(self, evaluator: ReferenceEvaluator) -> None:
        self._evaluator = evaluator
        self.input_names = tuple(str(name) for name in evaluator.input_names)
        self.output_names = tuple(str(name) for name in evaluator.output_names)

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        try:
            outputs: Any = self._evaluator.run(None, dict(feeds))
        except Exception as error:
            raise RuntimeFailureError(
                "the model cannot be run", where="runtime ${name}", found=f"{type(error).__name__}: {error}"
            ) from error
        return dict(zip(self.output_names, outputs, strict=True))


class ${pascal}(Runtime[Options]):
    """Run models node by node with the reference evaluator of ONNX."""

    name = "${name}"
    options_type = Options

    def unavailable(self, machine: Machine) -> str | None:
        here = find_machine("host").arch
        return None if machine.arch == here else f"{machine.name} is {machine.arch}, this machine is {here}"

    def fingerprint(self, machine: Machine) -> dict[str, str]:
        import onnx

        return {"machine": machine.name, "onnx": onnx.__version__}

    def unsupported(self, model: ir.Model, machine: Machine) -> list[str]:
        import onnx

        def known(node: ir.Node) -> bool:
            return node.op_identifier() in model.functions or onnx.defs.has(node.op_type, node.domain)

        return [
            f"{node.name}: {node.op_type} of domain {node.domain!r} is not a standard operator"
            for node in model.graph.all_nodes()
            if not known(node)
        ]

    def lower(
        self,
        model: ir.Model,
        folder: Path,
        machine: Machine,
        settings: Mapping[str, JsonValue],
        database: TuningDatabase,
    ) -> Artifact:
        ir.save(model, folder / FILE)
        return Artifact(self.name, (FILE,), settings)

    def load(self, folder: Path, artifact: Artifact) -> EvaluatorRunner:
        return _load(str(folder / artifact.files[0]))

    def load_model(self, model: ir.Model, *, optimize: bool = True) -> EvaluatorRunner:
        return _load(ir.to_proto(model))


def _load(model: Any) -> EvaluatorRunner:
    from onnx.reference import ReferenceEvaluator

    try:
        return EvaluatorRunner(ReferenceEvaluator(model))
    except Exception as error:
        raise LoweringError(
            "the model cannot be loaded", where="runtime ${name}", found=f"{type(error).__name__}: {error}"
        ) from error
'''

RUNTIME_TEST = '''"""The runtime ``${name}``: what it lowers, it loads and runs; what it cannot run, it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import LoweringError, RuntimeFailureError
from tamis.compiler.machine import find_machine
from tamis.compiler.target import Artifact
from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.${snake}.runtime import ${pascal}

X = np.array([-1.0, 2.0], np.float32)


def lower(model: ir.Model, folder: Path) -> Artifact:
    """``model`` lowered for this machine into ``folder``."""
    with TuningDatabase(folder.parent / "tuning.sqlite") as database:
        return ${pascal}().lower(model, folder, find_machine("host"), {}, database)


@pytest.fixture
def model() -> ir.Model:
    """y = Relu(x)."""
    return ir.from_onnx_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y) { y = Relu(x) }
    """)


def test_a_lowered_model_runs(model: ir.Model, tmp_path: Path) -> None:
    runtime = ${pascal}()
    runner = runtime.load(tmp_path, lower(model, tmp_path))
    assert (runner.input_names, runner.output_names) == (("x",), ("y",))
    assert runner({"x": X})["y"].tolist() == [0.0, 2.0]


def test_lowering_is_deterministic(model: ir.Model, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        artifact = lower(model, tmp_path / name)
        files.append([(tmp_path / name / file).read_bytes() for file in artifact.files])
    assert files[0] == files[1]


def test_a_model_runs_from_memory(model: ir.Model) -> None:
    assert ${pascal}().load_model(model, optimize=False)({"x": X})["y"].tolist() == [0.0, 2.0]


def test_wrong_inputs_are_an_error_of_ours(model: ir.Model) -> None:
    with pytest.raises(RuntimeFailureError):
        ${pascal}().load_model(model)({"wrong": X})


def test_a_damaged_file_is_an_error_of_ours(model: ir.Model, tmp_path: Path) -> None:
    runtime = ${pascal}()
    artifact = lower(model, tmp_path)
    (tmp_path / artifact.files[0]).write_bytes(b"damaged")
    with pytest.raises(LoweringError):
        runtime.load(tmp_path, artifact)


def test_operators_of_other_domains_are_named(model: ir.Model) -> None:
    host = find_machine("host")
    assert ${pascal}().unsupported(model, host) == []
    model.graph[0].domain = "com.example"
    model.graph[0].name = "odd"
    assert ["odd" in line for line in ${pascal}().unsupported(model, host)] == [True]


def test_this_machine_is_available_and_fingerprinted() -> None:
    host = find_machine("host")
    assert ${pascal}().unavailable(host) is None
    assert ${pascal}().fingerprint(host)["machine"] == host.name
'''
