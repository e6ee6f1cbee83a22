"""Decide the shape of every graph input before anything runs: graph, recipe and samples together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from tamis.compiler.errors import ModelError, RecipeError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.compiler.recipe import InputSection
from tamis.compiler.registry import nearest

PASS_INDEX_ON = {"Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Expand", "Transpose"}
"""Operators whose first output holds the same integers as their first input."""


def resolve_inputs(model: ir.Model, sections: Mapping[str, InputSection], sample: Feeds | None) -> InputSpec:
    """The inputs with every dimension fixed, or dynamic within a range that the recipe gives.

    A size is taken from the graph if it is fixed there, else from the recipe, else from the sample, else it
    is 1 for the first dimension of an input (the batch).

    Args:
        model: Its graph inputs; those with an initializer are optional and left out.
        sections: The recipe's ``inputs``.
        sample: The first of the user's samples, if there are any.

    Raises:
        RecipeError: An input that the model does not have, another rank or size than the graph's, or a size
            that nobody gives.
        ModelError: An input that is not a tensor.
    """
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    names = [str(v.name) for v in inputs]
    for name in sections:
        if name not in names:
            raise RecipeError(
                f"the model has no input {name!r}{nearest(name, names)}",
                where=f"inputs.{name}",
                expected="one of " + ", ".join(names),
            )
    dims = {dim: limits for section in sections.values() for dim, limits in section.dims.items()}
    found = tuple(
        _tensor(v, sections.get(str(v.name)), dims, None if sample is None else sample[str(v.name)]) for v in inputs
    )
    used = {d for t in found for d in t.shape if isinstance(d, str)}
    return InputSpec(found, {d: limits for d, limits in dims.items() if d in used})


def _tensor(
    value: ir.Value,
    section: InputSection | None,
    dims: Mapping[str, tuple[int, int]],
    sample: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None,
) -> TensorSpec:
    name = str(value.name)
    if not isinstance(value.type, ir.TensorType):
        raise ModelError(
            "an input that is not a tensor cannot be verified",
            where=f"input {name}",
            expected="a tensor",
            found=str(value.type),
            fix="export the model with tensor inputs",
        )
    graph: Sequence[object] | None = None if value.shape is None else tuple(value.shape)
    given = section.shape if section else None
    rank = len(graph) if graph is not None else len(given) if given is not None else None
    if rank is None:
        if sample is None:
            raise _unknown(name, "the rank")
        rank = sample.ndim
    if given is not None and len(given) != rank:
        raise RecipeError(
            "another number of dimensions than the graph's",
            where=f"inputs.{name}.shape",
            expected=str(rank),
            found=str(len(given)),
        )
    shape = tuple(
        _size(name, axis, graph[axis] if graph else None, given[axis] if given else None, dims, sample)
        for axis in range(rank)
    )
    bounds = section.range if section and section.range else _index_bounds(value)
    return TensorSpec(name, value.type.dtype.numpy(), shape, bounds)


def _size(
    name: str,
    axis: int,
    graph: object,
    given: int | str | None,
    dims: Mapping[str, tuple[int, int]],
    sample: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None,
) -> int | str:
    fixed = graph if isinstance(graph, int) and graph >= 0 else None  # some exporters write -1 for a dynamic size
    if isinstance(given, int) or given in dims:
        if fixed is not None and fixed != given:
            raise RecipeError(
                "another size than the graph's",
                where=f"inputs.{name}.shape, dimension {axis}",
                expected=str(fixed),
                found=str(given),
            )
        return given  # type: ignore[return-value]
    if fixed is not None:
        return fixed
    if sample is not None:
        return sample.shape[axis]
    if axis == 0:
        return 1
    raise _unknown(name, f"the size of dimension {axis}")


def _unknown(name: str, what: str) -> RecipeError:
    return RecipeError(
        f"{what} is not known",
        where=f"input {name}",
        fix=f"give inputs.{name}.shape in the recipe (--set inputs.{name}.shape=[1,3,224,224]), or calibration data",
    )


def _index_bounds(value: ir.Value) -> tuple[float, float] | None:
    """For an integer input that ends up as indices of a Gather: the legal indices of the smallest such axis."""
    if value.dtype not in (ir.DataType.INT32, ir.DataType.INT64):
        return None
    sizes, todo, seen = [], [value], {id(value)}
    while todo:
        current = todo.pop()
        for node, index in current.uses():
            if node.op_type == "Gather" and index == 1:
                sizes += _axis_size(node)
            elif node.op_type in PASS_INDEX_ON and index == 0 and id(node.outputs[0]) not in seen:
                seen.add(id(node.outputs[0]))
                todo.append(node.outputs[0])
    return (0, min(sizes) - 1) if sizes else None


def _axis_size(gather: ir.Node) -> list[int]:
    table = gather.inputs[0]
    if table is None or table.shape is None:
        return []
    axis = gather.attributes.get_int("axis", 0)
    size = table.shape[axis] if -len(table.shape) <= axis < len(table.shape) else None
    return [size] if isinstance(size, int) else []
