"""A fixed sample of ONNX's backend test suite through the recipe ``lossless``; ``make bench-corpus`` takes all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.corpus.cases import Case, load_cases, with_constants
from benchmarks.corpus.judge import FAILED, Outcome, judge
from tamis.compiler.graph_pass import PassContext, PassResult
from tests import planted

SAMPLE = 100
"""Cases, evenly spaced over the sorted names."""


def case(name: str) -> Case:
    return next(c for c in load_cases() if c.name == name)


@pytest.mark.parametrize("part", range(SAMPLE))
def test_a_sample_of_the_suite_comes_out_as_it_should(part: int) -> None:
    cases = load_cases()
    for form in with_constants(cases[part * len(cases) // SAMPLE]):
        result = judge(form)
        assert result.outcome not in FAILED, f"{result.name}: {result.reason}"


def test_the_suite_is_large_and_of_every_kind() -> None:
    names = [c.name for c in load_cases()]
    assert len(names) > 1500
    assert {name.partition("/")[0] for name in names} == {
        "node", "simple", "pytorch-converted", "pytorch-operator", "real"
    }  # fmt: skip


def test_a_case_is_also_taken_with_constant_inputs() -> None:
    forms = list(with_constants(case("node/test_conv_with_strides_padding")))
    assert [len(form.fed) for form in forms] == [2, 1, 0]
    assert [judge(form).outcome for form in forms] == [Outcome.MATCHED] * 3


@pytest.mark.parametrize(
    "name",
    [
        "node/test_sequence_insert_at_back",
        "node/test_identity_opt",
        "node/test_cast_FLOAT_to_BFLOAT16",
    ],
)
def test_values_that_are_no_plain_tensors_are_run(name: str) -> None:
    assert judge(case(name)).outcome is Outcome.MATCHED


def test_what_the_runtime_cannot_run_is_listed_with_its_reason() -> None:
    result = judge(case("node/test_adam"))
    assert result.outcome is Outcome.NOT_RUN
    assert "is not a registered function/op" in result.reason


def test_a_wrong_expected_output_is_seen_beside_the_original() -> None:
    given = case("node/test_relu")
    (inputs, outputs), *_ = given.sets
    result = judge(replace(given, sets=((inputs, [outputs[0] + 1]),)))
    assert result.outcome is Outcome.AS_ORIGINAL
    assert "Not equal to tolerance" in result.reason


class NegatesRelu(planted.Planted):
    """Wrong: computes -x."""

    name = "negates-relu"

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        found = [node for node in model.graph if node.op_type == "Relu"]
        for node in found:
            node.op_type = "Neg"
        return PassResult(model, modified=bool(found))


def test_a_wrong_pass_is_a_mismatch() -> None:
    result = judge(case("node/test_relu"), [NegatesRelu()])
    assert result.outcome is Outcome.MISMATCH
    assert result.reason.startswith("negates-relu breaks its contract: output 0: ")


def test_a_failing_pass_is_a_crash() -> None:
    class Fails(planted.Planted):
        name = "fails"

        def call(self, model: ir.Model, context: PassContext) -> PassResult:
            raise ZeroDivisionError("division by zero")

    result = judge(case("node/test_relu"), [Fails()])
    assert result.outcome is Outcome.CRASH
    assert result.reason == "fails: ZeroDivisionError: division by zero"


def test_the_suite_does_not_change_between_cases() -> None:
    given = case("node/test_relu")
    before = given.model.SerializeToString()
    judge(given)
    assert given.model.SerializeToString() == before
    assert np.array_equal(given.sets[0][1][0], np.maximum(given.sets[0][0][0], 0))
