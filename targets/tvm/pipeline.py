"""The phases between import and library, by name. Runs in the compiler process.

Tuning stops after ``FRONT``, whose result holds the kernels that schedules are searched for; building goes on from
there. Both must take the same way to it, since records are found by the structure of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from tamis.targets.tvm.channels_last import ChannelsLast
from tamis.targets.tvm.fold_with_numpy import FoldWithNumpy
from tamis.targets.tvm.importing import Report
from tamis.targets.tvm.integer_products import IntegerProducts
from tamis.targets.tvm.long_rows import LongRows, Views
from tamis.targets.tvm.packed_products import PackedProducts
from tamis.targets.tvm.settings import Settings
from tamis.targets.tvm.whole_vectors import WholeVectors

Transform = Any
"""A pass of TVM."""


@dataclass(frozen=True)
class Phase:
    """A few passes of TVM under a name that errors and progress can quote.

    Args:
        name: What is being done.
        passes: The passes, in order, given the settings; none leaves the module as it is.
    """

    name: str
    passes: Callable[[Settings], list[Transform]]


FRONT = (
    Phase("find integer products", lambda s: [IntegerProducts[s.layout == "nhwc"]]),
    Phase(
        "simplify",
        lambda s: [
            relax.transform.DecomposeOpsForInference(),
            FoldWithNumpy,
            relax.transform.FoldConstant(),
            relax.transform.CanonicalizeBindings(),
        ],
    ),
    Phase(
        "convert layout",
        lambda s: [ChannelsLast] if s.layout == "nhwc" else [],
    ),
    Phase("pack integer products", lambda s: [PackedProducts]),
    Phase("lengthen rows", lambda s: [LongRows] if s.layout == "nhwc" else []),
    Phase("fill vectors", lambda s: [WholeVectors]),
    Phase(
        "legalize",
        lambda s: [
            relax.backend.DispatchSampling(),
            relax.backend.DispatchSortScan(),
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
        ],
    ),
    Phase(
        "fuse",
        lambda s: [
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            Views,
        ],
    ),
    Phase("mark weights", lambda s: [relax.transform.AttachAttrLayoutFreeBuffers()] if s.prepack else []),
)
"""From the imported module to one whose kernels can be scheduled."""

PREPACK = Phase(
    "prepack",
    lambda s: (
        [
            relax.transform.SplitLayoutRewritePreproc(),
            relax.transform.LiftTransformParams(),
            relax.transform.FoldConstant(),
        ]
        if s.prepack
        else []
    ),
)
"""Weights in the order that scheduled kernels read: ``main_transform_params`` makes them when the library is loaded."""


def run_phases(
    module: tvm.IRModule, phases: tuple[Phase, ...], target: tvm.target.Target, settings: Settings, report: Report
) -> tvm.IRModule:
    """Apply ``phases`` in order, each announced by a report."""
    for phase in phases:
        report({"phase": phase.name})
        if passes := phase.passes(settings):
            with target:
                module = tvm.transform.Sequential(passes)(module)
    return module
