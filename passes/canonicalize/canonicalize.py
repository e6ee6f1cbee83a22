"""Put the graph into the form that later passes expect: static, folded, and free of dead and duplicate parts.

::

    x: [N, 3, H, W], recipe says [1, 3, 48, 320]   ->  x: [1, 3, 48, 320], shapes inferred from there
    input with a default that the recipe does not feed ->  initializer
    Constant -> Shape -> Gather -> Concat -> Reshape   ->  initializer -> Reshape
    Identity, Dropout, Cast to the same type, ...      ->  (gone)
    If with a known condition                          ->  the branch that runs
    Relu(x), Relu(x)                                   ->  Relu(x)

*Refuses*: folding random operators, operators of other domains, quantized storage (DequantizeLinear,
widening Casts of stored weights), 16-bit floating-point arithmetic, strings and element types that numpy
does not have, and results that would make the model much larger; merging two graph outputs; everything inside functions. Fusions that reassociate
floating-point arithmetic are not done here.
"""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.passes.canonicalize.dead_code import remove_dead_imports, remove_dead_initializers, remove_dead_nodes
from tamis.passes.canonicalize.duplicate_initializers import merge_duplicate_initializers
from tamis.passes.canonicalize.duplicate_nodes import merge_duplicate_nodes
from tamis.passes.canonicalize.fold_constants import fold_constants
from tamis.passes.canonicalize.foldable import find_foldable
from tamis.passes.canonicalize.garbage import collector_paused
from tamis.passes.canonicalize.infer_shapes import infer_shapes
from tamis.passes.canonicalize.inline_branches import inline_branches
from tamis.passes.canonicalize.lift_constants import lift_constants
from tamis.passes.canonicalize.no_ops import remove_no_ops
from tamis.passes.canonicalize.specialize_inputs import (
    conflict,
    fix_defaulted_inputs,
    forget_negative_sizes,
    free_initializers,
    specialize_inputs,
)


class Options(PassOptions):
    """Options of ``canonicalize``."""

    max_folded_mb: float = Field(
        1.0,
        ge=0,
        le=2000,
        description="A folded constant may be larger than what it is computed from only up to this size, "
        "MB of 1,000,000 bytes.",
    )


class Canonicalize(GraphPass[Options]):
    """Specialise shapes, fold constants and shapes, remove what is dead, duplicate or does nothing.

    *Match*: graph inputs that the recipe gives a shape, or that have a default and are not fed; ``Constant`` nodes; nodes over constants and
    static shapes; Ifs with a known condition; no-ops; nodes with equal operator, attributes and inputs; equal initializers; nodes,
    initializers, functions and opset imports that nothing uses.

    *Rewrite*: input shapes are set, then shapes are inferred and constants folded until nothing
    changes, then no-ops, duplicates and dead parts go, once each. Names of graph inputs and outputs,
    metadata, subgraphs and functions stay; values that a subgraph captures count as used.

    *Shapes*: as the recipe says; dimensions that it names stay symbolic.

    *Preserves*: bits. Folding runs the same kernels as the model would, ONNX Runtime's with its
    optimizations off.

    *Time*: linear in nodes. Weights that no folding reads are neither loaded nor copied.

    *References*: onnxsim (folding); Click and Cooper, "Combining analyses, combining optimizations",
    1995 (why folding and inference are repeated together).
    """

    name = "canonicalize"
    stage = Stage.CANONICALIZE
    contract = Contract.EXACT
    options_type = Options

    def requires(self, model: ir.Model, context: PassContext) -> None:
        specs = {t.name: t for t in context.inputs.tensors} if context.inputs else {}
        for value in model.graph.inputs:
            spec = specs.get(value.name or "")
            problem = conflict(value, spec) if spec else None
            if spec and problem:
                raise self.refuse(
                    f"the recipe's shape of input {value.name!r} contradicts the model",
                    expected=str(value.shape),
                    found=f"{list(spec.shape)}: {problem}",
                    fix="change 'inputs' in the recipe",
                )

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        with collector_paused():
            return self._call(model, context)

    def _call(self, model: ir.Model, context: PassContext) -> PassResult:
        counts: Counter[str] = Counter()
        counts["IR versions raised"] = free_initializers(model)
        counts["negative sizes forgotten"] = forget_negative_sizes(model)
        if context.inputs is not None:
            counts["defaults fixed"] = fix_defaulted_inputs(model.graph, context.inputs)
            counts["inputs specialised"] = specialize_inputs(model.graph, context.inputs)
        counts["constants lifted"] = lift_constants(model)
        skips = self._fold(model, counts)
        counts["no-ops removed"] = remove_no_ops(model)
        counts["duplicate constants merged"] = merge_duplicate_initializers(model)
        counts["duplicate nodes merged"] = merge_duplicate_nodes(model)
        counts["dead nodes removed"] = remove_dead_nodes(model)
        counts["dead constants removed"] = remove_dead_initializers(model)
        counts["dead imports removed"] = remove_dead_imports(model)
        done = {what: count for what, count in counts.items() if count}
        return PassResult(model, modified=bool(done), counts=done, skips=tuple(skips))

    def _fold(self, model: ir.Model, counts: Counter[str]) -> list[Skip]:
        """Infer and fold until nothing is left to fold; a folded shape is what the next inference needs."""
        progress = True
        while progress:
            counts["shapes inferred"] += infer_shapes(model)
            skips, folded = list[Skip](), 0
            for graph in model.graphs():
                found = find_foldable(graph, model, int(self.options.max_folded_mb * 1e6))
                skips.extend(found.skips)
                folded += fold_constants(graph, model, found) if found.nodes else 0
            inlined = inline_branches(model)
            counts["nodes folded"] += folded
            counts["branches inlined"] += inlined
            progress = folded + inlined > 0
        return skips
