"""Nodes that can read a tensor before its Transpose although they give the same result.

::

    Gemm(Transpose(a), b)                              ->  Gemm(a, b; transA = 1)
    Transpose -> Reshape to [N, H W C] -> Gemm, MatMul ->  Reshape -> Gemm, MatMul with permuted rows of the weight
    Shape(Transpose(x))                                ->  Gather(Shape(x), perm)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor, constant_value, set_constant
from tamis.compiler.rewriting.graph_edit import Names, drop_if_unused
from tamis.passes.layout.permutation import Perm, is_identity

Absorb = Callable[[ir.Value, Names], None]
"""Makes the node read the given value, which is not transposed."""


def absorber(node: ir.Node, index: int, perm: Perm) -> Absorb | None:
    """How ``node`` can do without the Transpose ``perm`` at its input ``index``; None if it cannot."""
    if node.domain != "":
        return None
    if node.op_type == "Gemm" and index < 2 and perm == (1, 0) and node.inputs.count(node.inputs[index]) == 1:
        return lambda value, names: _flip(node, index, value)
    if node.op_type == "Shape":
        return lambda value, names: _gather(node, perm, value, names)
    if node.op_type in ("Flatten", "Reshape") and index == 0:
        return _flatten(node, perm)
    return None


def _flip(node: ir.Node, index: int, value: ir.Value) -> None:
    name = ("transA", "transB")[index]
    node.attributes[name] = ir.AttrInt64(name, 0 if node.attributes.get_int(name) else 1)
    node.replace_input_with(index, value)


def _gather(node: ir.Node, perm: Perm, value: ir.Value, names: Names) -> None:
    """The sizes in the order of ``perm``; ``start`` and ``end`` choose among them."""
    graph, output = node.graph, node.outputs[0]
    assert graph is not None and output.name is not None
    start, end = (node.attributes.get_int(name) for name in ("start", "end"))
    wanted = np.array(perm[start:end], np.int64)
    for name in ("start", "end"):
        node.attributes.pop(name, None)
    base = node.name or output.name
    order = names.fresh(f"{base}_order")
    indices = constant_value(order, ir.tensor(wanted, name=order))
    graph.register_initializer(indices)
    new = ir.node("Gather", [output, indices], {"axis": 0}, name=names.fresh(f"{base}_gather"))
    result = new.outputs[0]
    result.type, result.shape = output.type, output.shape
    output.replace_all_uses_with(result, replace_graph_outputs=True)
    new.replace_input_with(0, output)
    graph.insert_after(node, new)
    result.name, output.name = output.name, names.fresh(f"{base}_sizes")
    output.shape = ir.Shape([len(perm)])
    node.replace_input_with(0, value)


def _flatten(node: ir.Node, perm: Perm) -> Absorb | None:
    """All axes but the first become one, which only matrix products with constant weights read."""
    value, output = node.inputs[0], node.outputs[0]
    if value is None or value.shape is None or len(perm) < 2 or perm[0] != 0 or is_identity(perm):
        return None
    sizes = [value.shape[i] for i in range(1, len(perm))]
    if any(not isinstance(size, int) or size < 1 for size in sizes) or output.is_graph_output():
        return None
    length = int(np.prod([int(size) for size in sizes]))  # type: ignore[arg-type]
    if not _is_flat(node, length) or not all(_is_product(use.node, use.idx, length) for use in output.uses()):
        return None
    sizes_before = [0] * len(sizes)
    for i, size in enumerate(sizes):
        sizes_before[perm[i + 1] - 1] = int(size)  # type: ignore[arg-type]
    axes = [axis - 1 for axis in perm[1:]]
    order = np.arange(length).reshape(sizes_before).transpose(axes).ravel()
    return lambda source, names: _permute(node, order, source, names)


def _is_flat(node: ir.Node, length: int) -> bool:
    """Whether the result is (first axis, ``length``), in a way that does not depend on the other axes' order."""
    if node.op_type == "Flatten":
        return node.attributes.get_int("axis", 1) == 1
    shape = constant_array(node.inputs[1])
    return shape is not None and shape.shape == (2,) and bool(shape[1] in (-1, length)) and _keeps_rows(node, shape)


def _keeps_rows(node: ir.Node, shape: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    """A -1 for the columns gives ``length`` only if the rows are the first axis."""
    if shape[1] != -1:
        return True
    value = node.inputs[0]
    copied = shape[0] == 0 and not node.attributes.get_int("allowzero")
    return bool(copied) or (value is not None and value.shape is not None and value.shape[0] == int(shape[0]))


def _is_product(node: ir.Node, index: int, length: int) -> bool:
    if node.domain != "" or node.op_type not in ("Gemm", "MatMul") or index != 0 or node.attributes.get_int("transA"):
        return False
    weight = constant_tensor(node.inputs[1])
    shape = () if weight is None else tuple(weight.shape)
    return len(shape) == 2 and shape[_rows(node)] == length


def _rows(node: ir.Node) -> int:
    """Axis of the weight that is summed over."""
    return 1 if node.attributes.get_int("transB") else 0


def _permute(node: ir.Node, order: np.ndarray[tuple[int], np.dtype[np.int64]], source: ir.Value, names: Names) -> None:
    """Row ``order[j]`` of the new weight is row ``j`` of the old one."""
    back = np.argsort(order)
    for reader in {use.node: None for use in node.outputs[0].uses()}:
        old = reader.inputs[1]
        weight = constant_array(old)
        assert weight is not None
        new = np.ascontiguousarray(np.take(weight, back, axis=_rows(reader)))
        set_constant(reader, 1, new, names.fresh(f"{reader.name or reader.op_type}_weight"))
        drop_if_unused([old])
    node.replace_input_with(0, source)
