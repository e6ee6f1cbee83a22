"""The forms of the TVM corpus are what they say; a process that ends costs one form. The rest: test_precheck.py."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from benchmarks.tvm_corpus import processes
from benchmarks.tvm_corpus.cases import form_named, load_forms
from benchmarks.tvm_corpus.forms import OLDER, expected, opset_of
from benchmarks.tvm_corpus.processes import Outcome
from benchmarks.tvm_corpus.verdicts import Verdict, judge


def test_names_are_unique_and_many() -> None:
    names = [f.name for f in load_forms()]
    assert len(names) == len(set(names)) > 8000
    older = [f.kind for f in load_forms() if f.kind.startswith("opset") and f.case.name.startswith("node/")]
    assert max(int(kind.split()[1]) for kind in older) <= OLDER


def test_another_type_changes_inputs_and_outputs_that_share_it() -> None:
    chosen = form_named("node/test_clip [constant weights] [double]")
    case = chosen.build()
    kinds = {v.type.tensor_type.elem_type for v in (*case.model.graph.input, *case.model.graph.output)}
    assert kinds == {onnx.TensorProto.DOUBLE}
    assert {t.data_type for t in case.model.graph.initializer} == {onnx.TensorProto.DOUBLE}
    assert case.sets[0][0][0].dtype == np.float64
    (outputs,) = expected(chosen, case)
    assert outputs[0].dtype == np.float64


def test_indices_keep_their_type() -> None:
    case = form_named("node/test_gather_0 [constant weights] [float16]").build()
    assert [t.data_type for t in case.model.graph.initializer] == [onnx.TensorProto.INT64]


def test_older_opsets_are_those_of_older_definitions() -> None:
    found = [f for f in load_forms() if f.name.startswith("node/test_softmax_axis_1 [opset")]
    assert [opset_of(f.build().model) for f in found] == [10, 12]
    assert all(
        int(f.kind.split()[1]) <= OLDER for f in load_forms() if f.name.startswith("node/") and "opset" in f.kind
    )


def test_folding_leaves_no_shapes() -> None:
    case = form_named("node/test_group_normalization_example_expanded [constant weights] [folded]").build()
    assert "Shape" not in {node.op_type for node in case.model.graph.node}


@pytest.mark.parametrize(
    ("name", "stage", "verdict"),
    [
        ("node/test_relu", "right", Verdict.RIGHT),
        ("node/test_relu", "wrong", Verdict.WRONG),
        ("node/test_relu", "crash", Verdict.FAILS),
        ("node/test_relu", "no reference", Verdict.NO_REFERENCE),
        ("node/test_celu", "import", Verdict.REFUSED),
        ("node/test_celu", "right", Verdict.OVERCAUTIOUS),
        ("own/relu_nan [opset 13]", "wrong", Verdict.VALUES),
        ("own/relu_nan [opset 13]", "build", Verdict.FAILS),
    ],
)
def test_verdicts(name: str, stage: str, verdict: Verdict) -> None:
    assert judge(form_named(name), Outcome(stage, "why")).verdict is verdict


def test_a_process_that_ends_costs_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CHILD", "tests.benchmarks.planted_tvm_child")
    found = processes.run(["a", "b", "abort", "c"])
    assert [found[name].stage for name in ("a", "b", "abort", "c")] == ["right", "right", "crash", "right"]
    pids = [found[name].reason.split()[1] for name in "abc"]
    assert pids[0] == pids[1] != pids[2]
    assert found["abort"].reason == "exit status -6"


def test_a_process_that_hangs_costs_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CHILD", "tests.benchmarks.planted_tvm_child")
    monkeypatch.setattr(processes, "LONGEST", 0.0)
    assert processes.run(["a"])["a"].stage == "crash"


def test_a_form_is_not_changed_by_building_it() -> None:
    chosen = form_named("node/test_relu [float16]")
    before = chosen.case.model.SerializeToString()
    chosen.build()
    assert chosen.case.model.SerializeToString() == before
    assert dataclasses.replace(chosen).case.sets[0][0][0].dtype == np.float32
