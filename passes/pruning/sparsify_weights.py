"""Set weights to zero without changing any shape: a share of them anywhere, or N:M.

::

    W   ->   W with zeros         unstructured: a share of each weight;  2:4: two of each four consecutive inputs

For size, not for speed: no runtime that tamis lowers to multiplies faster by zeros. What they give is a smaller file
once it is compressed, and a model for runtimes and devices with kernels for sparse weights. To get smaller products,
prune whole channels.

*Refuses*: weights that are not constant, not float32, not finite, smaller than ``min_elements``, or read in another form
elsewhere; depthwise convolutions; with N:M, layers whose input channels are no multiple of M; graphs inside nodes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import onnx_ir as ir
from pydantic import Field, model_validator

from tamis.compiler.errors import PostconditionError
from tamis.compiler.graph_pass import Contract, Detail, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_array
from tamis.passes.pruning.sparsity.pattern import PATTERN, Pattern, read_pattern
from tamis.passes.pruning.sparsity.shared_weights import Array, SharedWeight, find_weights, with_grams
from tamis.passes.pruning.sparsity.sparsify import Criterion, output_error, sparsify
from tamis.passes.pruning.weight_selection import selection

HAS_PATTERN = "weight has the pattern already"


class Options(PassOptions):
    """Options of ``sparsify-weights``."""

    pattern: str = Field(
        "unstructured",
        pattern=PATTERN,
        description="unstructured, or N:M: of each M consecutive input channels of an output at most N weights stay.",
    )
    sparsity: float = Field(0.5, gt=0, lt=1, description="unstructured: share of each weight that becomes zero.")
    criterion: Criterion = Field(
        "obs",
        description="Which weights go. magnitude: the smallest. wanda: the smallest times the size of their input. "
        "obs: those that the outputs miss least, the others make up for them. The last two need calibration samples.",
    )
    min_elements: int = Field(4096, ge=1, le=2**31, description="Leave weights with fewer elements.")
    include: tuple[str, ...] = Field(("*",), description="Change only nodes whose name matches one of these globs.")
    exclude: tuple[str, ...] = Field((), description="Leave nodes whose name matches one of these globs.")

    @model_validator(mode="after")
    def _some_stay(self) -> Self:
        read_pattern(self.pattern, self.sparsity)
        return self


class SparsifyWeights(GraphPass[Options]):
    """Set a part of the weights of Conv, MatMul and Gemm to zero.

    *Match*: Conv but for depthwise ones, MatMul and Gemm with a constant float32 weight, in the main graph. Layers that
    share a weight are looked at together.

    *Rewrite*: by ``magnitude`` the weights of least ``|W|`` go; by ``wanda`` those of least ``|W_kn| RMS(x_k)`` of each
    output; by ``obs`` inputs are gone through in order, and the error of each weight that goes is passed on to the inputs
    behind it by the inverse of the second moments of the input. A layer whose samples are not finite, or whose rows are
    too long for second moments, falls back to magnitude.

    *Shapes*: unchanged. Blocks of N:M lie along the input channels of a convolution at each place of its kernel, and
    along the rows of a matrix.

    *Preserves*: shapes and types; weights that are zero before stay so by magnitude and wanda. Counts tell the size of the
    weights under zlib before and after.

    *References*: Frantar and Alistarh, "SparseGPT", 2023 (2301.00774); Sun et al., "A simple and effective pruning
    approach for large language models" (Wanda), 2023 (2306.11695); Mishra et al., "Accelerating sparse deep neural
    networks", 2021 (2104.08378), for 2:4.
    """

    name = "sparsify-weights"
    stage = Stage.PRUNE
    contract = Contract.LOSSY
    options_type = Options

    def wants_samples(self) -> bool:
        return self.options.criterion != "magnitude"

    def requires(self, model: ir.Model, context: PassContext) -> None:
        if self.wants_samples() and context.samples is None:
            raise self.refuse(
                f"criterion {self.options.criterion} looks at inputs of layers, and there are no samples",
                expected="calibration samples",
                found="none",
                fix="add 'data: calibration' to the recipe, or choose 'criterion: magnitude'",
            )

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        weights, skips = self._weights(model)
        details: dict[str, Detail] = {}
        before = after = zeros = layers = 0
        for weight, gram in self._informed(model, weights, context):
            old = weight.first.matrices()
            new = sparsify(old, self._pattern, self.options.criterion, gram)
            stored = weight.first.stored(new)
            before += _compressed(constant_array(weight.first.value))
            after += _compressed(stored)
            zeros += int(np.count_nonzero(new == 0)) - int(np.count_nonzero(old == 0))
            layers += len(weight.readers)
            _write(weight, stored)
            for reader in weight.readers:
                name = reader.node.name or str(reader.node.outputs[0].name)
                details[name] = self._detail(name, old, new, gram)
        counts = {
            "layers made sparse": layers,
            "weights set to zero": zeros,
            "bytes under zlib before": before,
            "bytes under zlib after": after,
        }
        return PassResult(
            model,
            modified=layers > 0,
            counts=counts if layers else {},
            skips=tuple(skips),
            details=tuple(details.values()),
        )

    def ensures(self, model: ir.Model, context: PassContext) -> None:
        for weight in self._found(model)[0]:
            if not self._pattern.holds(weight.first.matrices()):
                raise PostconditionError(
                    "a weight has not the pattern",
                    where=f"pass {self.name}, node {weight.first.node.name!r}",
                    expected=self._pattern.name,
                    fix="report this defect of the pass",
                )

    @property
    def _pattern(self) -> Pattern:
        return read_pattern(self.options.pattern, self.options.sparsity)

    def _found(self, model: ir.Model) -> tuple[list[SharedWeight], list[Skip]]:
        """Weights that can have the pattern, whether they have it or not."""
        options = self.options
        found, skips = find_weights(
            model, options.min_elements, lambda name: selection(name, options.include, options.exclude)
        )
        weights = []
        for weight in found:
            refusal = self._pattern.refusal(weight.inputs)
            if refusal is None:
                weights.append(weight)
            else:
                skips += _skips(refusal, weight)
        return weights, skips

    def _weights(self, model: ir.Model) -> tuple[list[SharedWeight], list[Skip]]:
        """Weights that do not have the pattern yet."""
        found, skips = self._found(model)
        weights = []
        for weight in found:
            if self._pattern.holds(weight.first.matrices()):
                skips += _skips(HAS_PATTERN, weight)
            else:
                weights.append(weight)
        return weights, skips

    def _informed(
        self, model: ir.Model, weights: Sequence[SharedWeight], context: PassContext
    ) -> Iterator[tuple[SharedWeight, Array | None]]:
        """Each weight with the second moments of its inputs, where the criterion asks for them and they can be had.

        The samples run a copy: what this yields is changed meanwhile.
        """
        left = dict.fromkeys(weights)
        if self.wants_samples() and context.samples is not None:
            copy = model.clone()
            twins = dict(zip(copy.graph, model.graph, strict=True))
            owners = {reader.node: weight for weight in weights for reader in weight.readers}
            for twin, gram in with_grams(
                copy, [w for w in self._weights(copy)[0] if w.observable], context.samples, context.seed
            ):
                weight = owners[twins[twin.first.node]]
                if np.isfinite(gram).all():
                    del left[weight]
                    yield weight, gram
        for weight in left:
            yield weight, None

    def _detail(self, name: str, old: Array, new: Array, gram: Array | None) -> Detail:
        why = self.options.criterion if gram is not None else "magnitude"
        figures = {"zeros": float(np.mean(new == 0))}
        if gram is not None:
            figures["error"] = output_error(old, new, gram)
        return Detail(name, self._pattern.name, f"by {why}", figures)


def _write(weight: SharedWeight, array: Array) -> None:
    """Change the initializer, which only the readers of ``weight`` read."""
    value = weight.first.value
    value.const_value = ir.tensor(array, name=value.name)


def _skips(reason: str, weight: SharedWeight) -> list[Skip]:
    return [Skip(reason, reader.node.name or str(reader.node.outputs[0].name)) for reader in weight.readers]


def _compressed(array: Array | None) -> int:
    """Bytes under zlib."""
    assert array is not None
    return len(zlib.compress(np.ascontiguousarray(array).tobytes()))
