"""What the pre-check says of a sample of ONNX's test suite, against TVM; ``make bench-tvm-corpus`` takes all of it."""

from __future__ import annotations

import pytest

from benchmarks.tvm_corpus.cases import form_named
from benchmarks.tvm_corpus.processes import run
from benchmarks.tvm_corpus.verdicts import Verdict, judge
from tamis.targets.tvm import gap_table as tables
from tamis.targets.tvm import precheck
from tamis.targets.tvm.gap_table import gap_table

SAMPLE = (
    "node/test_add_bcast", "node/test_argmax_default_axis_example", "node/test_averagepool_2d_ceil",
    "node/test_batchnorm_example", "node/test_batchnorm_example_training_mode", "node/test_bitshift_left_uint8",
    "node/test_cast_FLOAT_to_FLOAT16", "node/test_cast_FLOAT_to_FLOAT8E4M3FN", "node/test_celu", "node/test_clip_default_min",
    "node/test_concat_2d_axis_1", "node/test_basic_conv_with_padding", "node/test_convtranspose_output_shape",
    "node/test_cumsum_1d [constant weights]", "node/test_dequantizelinear_axis", "node/test_dropout_default_mask",
    "node/test_einsum_batch_matmul", "node/test_expand_dim_changed", "node/test_gather_0", "node/test_gelu_tanh_1",
    "node/test_gemm_all_attributes", "node/test_isinf", "node/test_isinf_positive", "node/test_layer_normalization_2d_axis1",
    "node/test_lstm_defaults", "node/test_matmul_3d", "node/test_maxpool_2d_pads", "node/test_nonmaxsuppression_iou_threshold_boundary",
    "node/test_pow_types_float32_int32", "node/test_reduce_mean_keepdims_example [constant weights]",
    "node/test_reshape_negative_dim", "node/test_reshape_negative_dim [constant weights]",
    "node/test_resize_downsample_scales_linear [constant weights]", "node/test_resize_upsample_scales_nearest [constant weights]",
    "node/test_roialign_mode_max", "node/test_softmax_axis_1", "node/test_spacetodepth_crd_mode_example",
    "node/test_split_variable_parts_1d_opset13 [constant weights]", "node/test_top_k [constant weights]", "node/test_where_example",
    "own/dynamic_shape_to_reshape [opset 21]", "own/layer_normalization_broadcast_square [opset 17]",
    "own/resize_linear_up_fraction [opset 13]", "own/if_two_outputs [opset 13]",
)  # fmt: skip
WRONG = {
    "node/test_batchnorm_example_training_mode", "node/test_cast_FLOAT_to_FLOAT8E4M3FN", "node/test_convtranspose_output_shape",
    "node/test_dropout_default_mask", "node/test_expand_dim_changed", "node/test_isinf_positive",
    "node/test_layer_normalization_2d_axis1", "node/test_nonmaxsuppression_iou_threshold_boundary",
    "node/test_resize_downsample_scales_linear [constant weights]", "node/test_roialign_mode_max",
    "node/test_spacetodepth_crd_mode_example", "own/layer_normalization_broadcast_square [opset 17]",
    "own/resize_linear_up_fraction [opset 13]",
}  # fmt: skip
"""Those of the sample that TVM compiles and computes wrong."""


def test_a_sample_of_the_suite_agrees_with_tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = run(SAMPLE)
    results = {name: judge(form_named(name), outcomes[name]) for name in SAMPLE}
    assert {r.verdict for r in results.values()} == {Verdict.RIGHT, Verdict.REFUSED}, results
    assert {name for name, outcome in outcomes.items() if outcome.stage == "wrong"} == WRONG
    assert sum(r.verdict is Verdict.RIGHT for r in results.values()) > len(SAMPLE) // 2

    # without its entries a wrong operator is let through, and that is seen
    monkeypatch.setattr(precheck, "gap_table", lambda: gap_table().model_copy(update={"gaps": ()}))
    monkeypatch.setattr(tables.GapTable, "of", lambda self, op_type: ())
    assert judge(form_named("node/test_isinf_positive"), outcomes["node/test_isinf_positive"]).verdict is Verdict.WRONG
