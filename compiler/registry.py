"""Names of passes, runtimes, metrics, data sets and machines, and the lazy import behind each.

This table is the only place where the compiler names a pass or a target. Installed packages add to
it through the entry-point groups ``tamis.passes``, ``tamis.targets``, ``tamis.metrics``,
``tamis.datasets`` and ``tamis.analyses``; an entry point may not take a name that is in use.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tamis.compiler.errors import RegistryError

if TYPE_CHECKING:
    from tamis.compiler.graph_pass import GraphPass
    from tamis.compiler.target import Runtime

TABLE: dict[str, dict[str, str]] = {
    "passes": {
        "canonicalize": "tamis.passes.canonicalize.canonicalize:Canonicalize",
        "fuse-hard-sigmoid": "tamis.passes.fusion.fuse_hard_sigmoid:FuseHardSigmoid",
        "fuse-hard-swish": "tamis.passes.fusion.fuse_hard_swish:FuseHardSwish",
        "factor-residual-gate": "tamis.passes.fusion.factor_residual_gate:FactorResidualGate",
        "fold-conv-affine": "tamis.passes.fusion.fold_conv_affine:FoldConvAffine",
        "fold-norm-affine": "tamis.passes.fusion.fold_norm_affine:FoldNormAffine",
        "fuse-silu": "tamis.passes.fusion.fuse_silu:FuseSilu",
        "fuse-one-hot-matmul": "tamis.passes.fusion.fuse_one_hot_matmul:FuseOneHotMatmul",
        "fuse-gelu": "tamis.passes.fusion.fuse_gelu:FuseGelu",
        "fuse-layer-norm": "tamis.passes.fusion.fuse_layer_norm:FuseLayerNorm",
        "fuse-rms-norm": "tamis.passes.fusion.fuse_rms_norm:FuseRmsNorm",
        "fuse-softmax": "tamis.passes.fusion.fuse_softmax:FuseSoftmax",
        "merge-parallel-convs": "tamis.passes.fusion.merge_parallel_convs:MergeParallelConvs",
        "merge-consecutive-convs": "tamis.passes.fusion.merge_consecutive_convs:MergeConsecutiveConvs",
        "fold-pad": "tamis.passes.fusion.fold_pad:FoldPad",
        "convert-prelu": "tamis.passes.fusion.convert_prelu:ConvertPrelu",
        "convert-reduce-mean": "tamis.passes.fusion.convert_reduce_mean:ConvertReduceMean",
        "simplify-casts": "tamis.passes.canonicalize.simplify_casts:SimplifyCasts",
        "simplify-reshapes": "tamis.passes.canonicalize.simplify_reshapes:SimplifyReshapes",
        "simplify-resize": "tamis.passes.canonicalize.simplify_resize:SimplifyResize",
        "simplify-slices": "tamis.passes.canonicalize.simplify_slices:SimplifySlices",
        "sink-transposes": "tamis.passes.layout.sink_transposes:SinkTransposes",
        "fold-channel-shuffle": "tamis.passes.layout.fold_channel_shuffle:FoldChannelShuffle",
        "eliminate-dead-channels": "tamis.passes.pruning.eliminate_dead_channels:EliminateDeadChannels",
        "prune-inactive-channels": "tamis.passes.pruning.prune_inactive_channels:PruneInactiveChannels",
        "prune-channels": "tamis.passes.pruning.prune_channels:PruneChannels",
        "factorize-layers": "tamis.passes.pruning.factorize_layers:FactorizeLayers",
        "sparsify-weights": "tamis.passes.pruning.sparsify_weights:SparsifyWeights",
        "dequantize": "tamis.passes.quantization.dequantize:Dequantize",
        "equalize-layers": "tamis.passes.quantization.equalize_layers:EqualizeLayers",
        "smooth-activations": "tamis.passes.quantization.smooth_activations:SmoothActivations",
        "clean-qdq": "tamis.passes.quantization.clean_qdq:CleanQdq",
        "quantize-dynamic": "tamis.passes.quantization.quantize_dynamic:QuantizeDynamic",
        "quantize-static": "tamis.passes.quantization.quantize_static:QuantizeStatic",
        "quantize-weights": "tamis.passes.quantization.quantize_weights:QuantizeWeights",
        "convert-float16": "tamis.passes.quantization.convert_float16:ConvertFloat16",
    },
    "targets": {
        "onnxruntime": "tamis.targets.onnxruntime.runtime:OnnxRuntime",
        "tvm": "tamis.targets.tvm.runtime:Tvm",
    },
    "metrics": {
        "accuracy": "tamis.compiler.metrics.classification:Accuracy",
        "top5": "tamis.compiler.metrics.classification:Top5",
        "roc-auc": "tamis.compiler.metrics.classification:RocAuc",
        "char-accuracy": "tamis.compiler.metrics.sequence:CharAccuracy",
        "iou": "tamis.compiler.metrics.regression:Iou",
        "pearson-similarity": "tamis.compiler.metrics.regression:PearsonSimilarity",
        "mean-squared-error": "tamis.compiler.metrics.regression:MeanSquaredError",
    },
    "datasets": {},
    "analyses": {
        "quantization": "tamis.passes.quantization.analysis.quantization_analysis:analyse_quantization",
        "pruning": "tamis.passes.pruning.analysis.pruning_analysis:analyse_pruning",
    },
}

GROUPS: dict[str, tuple[str, ...]] = {
    "fuse": (
        "simplify-casts",
        "simplify-reshapes",
        "simplify-slices",
        "simplify-resize",
        "sink-transposes",
        "fold-channel-shuffle",
        "fuse-hard-swish",
        "fuse-hard-sigmoid",
        "fuse-silu",
        "fuse-gelu",
        "fuse-layer-norm",
        "fuse-rms-norm",
        "fuse-softmax",
        "fuse-one-hot-matmul",
        "factor-residual-gate",
        "convert-prelu",
        "convert-reduce-mean",
        "fold-pad",
        "fold-conv-affine",
        "fold-norm-affine",
        "merge-parallel-convs",
        "merge-consecutive-convs",
    ),
}
"""Groups of passes that a recipe can name as one step, in the order in which they are applied."""

DETECTOR = "tamis.targets.hardware.host:detect"
"""Describes the machine at hand."""

DEVICES = {
    "serve": "tamis.targets.tvm.rpc.server:serve",
    "track": "tamis.targets.tvm.rpc.server:track",
    "list": "tamis.targets.tvm.rpc.server:devices",
    "root": "tamis.targets.links.arm64_root:arm64_root",
}
"""What ``tamis device`` does, by its commands."""

REFERENCE_RUNTIME = "onnxruntime"
"""Runs models for verification, with its optimizations off, and plain models on the command line."""

KIND_NAMES = {
    "passes": "pass",
    "targets": "runtime",
    "metrics": "metric",
    "datasets": "data set",
    "analyses": "analysis",
}


@cache
def table(kind: str) -> dict[str, str]:
    """Name -> ``module:attribute`` of one kind, built-in names first, then installed entry points.

    Raises:
        RegistryError: An installed package claims a name that is in use.
    """
    names = dict(TABLE[kind])
    for point in entry_points(group=f"tamis.{kind}"):
        if point.name in names and names[point.name] != point.value:
            raise RegistryError(
                f"the {KIND_NAMES[kind]} {point.name!r} is defined twice",
                found=f"{names[point.name]} and {point.value}",
                fix="uninstall one of the two packages",
            )
        names[point.name] = point.value
    return names


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or an empty string, for error messages."""
    folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def unknown(kind_name: str, name: str, known: Iterable[str], where: str | None = None) -> RegistryError:
    """The error for a name that is not in a table."""
    known = sorted(known)
    return RegistryError(
        f"there is no {kind_name} {name!r}{nearest(name, known)}",
        where=where,
        expected="one of " + ", ".join(known) if known else "an installed plug-in that provides it",
    )


def lookup(kind: str, name: str) -> Any:
    """Import and return what ``name`` stands for.

    Raises:
        RegistryError: No such name, or the module behind it cannot be imported.
    """
    names = table(kind)
    if name not in names:
        raise unknown(KIND_NAMES[kind], name, names)
    try:
        return load_attribute(names[name])
    except (ImportError, AttributeError) as error:
        raise RegistryError(
            f"the {KIND_NAMES[kind]} {name!r} cannot be loaded from {names[name]}",
            found=f"{type(error).__name__}: {error}",
            fix="reinstall the package that provides it",
        ) from error


def load_attribute(place: str) -> Any:
    """Import ``module:attribute`` and return the attribute."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def pass_class(name: str) -> type[GraphPass[Any]]:
    """The class of the pass ``name``."""
    found: type[GraphPass[Any]] = lookup("passes", name)
    return found


def runtime_class(name: str) -> type[Runtime[Any]]:
    """The class of the runtime ``name``."""
    found: type[Runtime[Any]] = lookup("targets", name)
    return found


@cache
def recipe_names() -> tuple[str, ...]:
    """Names of the shipped recipes."""
    return _stems("tamis.recipes")


@cache
def machine_names() -> tuple[str, ...]:
    """Names of the machines that ship as data; ``host`` comes on top of them."""
    return _stems("tamis.targets.hardware")


def _stems(package: str) -> tuple[str, ...]:
    found = (f.name for f in files(package).iterdir())
    return tuple(sorted(n.removesuffix(".yaml") for n in found if n.endswith(".yaml")))
