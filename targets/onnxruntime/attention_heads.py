"""Read backwards what an attention's query, key or value is made of: a projection, cut into heads.

::

    (B, S, D) -> MatMul -> Add -> Reshape (B, S, H, d) -> Transpose (B, H, S, d)
    (B, S, D) -> MatMul -> Add -> Split                  -> the same: one product for all three
    (B, S, D) -> MatMul -> Add -> Reshape (B, S, 3, H, d) -> Transpose (3, B, H, S, d) -> one of three

with factors anywhere on the way. Shapes must be known as far as the reading depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.rewriting.node_pass import producer_of

FACTORS = frozenset({"Mul", "Div"})


@dataclass
class Chain:
    """A walk from a value to what it is computed from.

    Args:
        value: Where the walk is.
        reader: What has read ``value``.
        factor: Product of the constant factors passed.
        nodes: Those passed.
    """

    value: ir.Value
    reader: ir.Node
    factor: float = 1.0
    nodes: list[ir.Node] = field(default_factory=list)

    def step(self, *op_types: str) -> ir.Node | None:
        """Pass the producer of the value if it is one of ``op_types``; the walk goes on at its first input."""
        node = producer_of(self.value, self.reader, frozenset(op_types))
        if node is None or not node.inputs or node.inputs[0] is None:
            return None
        self.nodes.append(node)
        self.value, self.reader = node.inputs[0], node
        return node

    def scale(self) -> None:
        """Pass products with single finite numbers other than 0."""
        while (node := producer_of(self.value, self.reader, FACTORS)) is not None:
            found = _factor(node)
            if found is None:
                return
            factor, rest = found
            self.factor *= factor
            self.nodes.append(node)
            self.value, self.reader = rest, node


@dataclass(frozen=True)
class Heads:
    """A projection, cut into heads.

    Args:
        source: What is projected, ``(B, S, D)``.
        weight: ``(D, H * d)``, factors not included.
        bias: ``(H * d,)``; None without one.
        factor: Of the result.
        count, size: H and d.
        turned: The result is ``(B, H, d, S)``, not ``(B, H, S, d)``.
        nodes: What computes it.
    """

    source: ir.Value
    weight: np.ndarray[Any, Any]
    bias: np.ndarray[Any, Any] | None
    factor: float
    count: int
    size: int
    turned: bool
    nodes: tuple[ir.Node, ...]


def read_heads(value: ir.Value, reader: ir.Node) -> Heads | str:
    """What the value that ``reader`` reads is made of, or in a few words why it is no projection cut into heads."""
    chain = Chain(value, reader)
    turned = _turn(chain)
    part = _part(chain)
    transpose = chain.step("Transpose")
    order = None if transpose is None else perm_of(transpose)
    wanted = ([0, 2, 1, 3], [0, 2, 3, 1]) if part is None else ([2, 0, 3, 1, 4],)
    if order not in wanted:
        return "the heads are not transposed as usual"
    turned ^= order == [0, 2, 3, 1]
    chain.scale()
    reshape = chain.step("Reshape")
    shape = None if reshape is None else reshape.outputs[0].shape
    if shape is None or not all(isinstance(d, int) for d in shape[2:]):
        return "the heads are not made by a Reshape of known sizes"
    return _projection(chain, shape, part, turned)


def _projection(chain: Chain, shape: ir.Shape, part: int | None, turned: bool) -> Heads | str:
    """What stands before the Reshape to ``shape``; ``part`` is the index in its third dimension, None if it has none."""
    rows = chain.value.shape
    if rows is None or len(rows) != 3 or not (known_equal(rows[0], shape[0]) and known_equal(rows[1], shape[1])):
        return "the Reshape does more than cut heads"
    count, size = int(shape[-2]), int(shape[-1])  # type: ignore[arg-type]
    width = count * size
    chain.scale()
    begin = _split_begin(chain, width) if part is None else part * width
    bias = _bias(chain)
    product = chain.step("MatMul")
    weight = None if product is None else constant_array(product.inputs[1])
    if weight is None or weight.ndim != 2:
        return "not the product with a constant matrix"
    if bias is not None and bias.shape != weight.shape[1:]:
        return "the bias is not one number a column"
    source = chain.value
    if source.dtype != ir.DataType.FLOAT:
        return "not float32"
    columns = slice(begin, begin + width)
    own = None if bias is None else bias[columns]
    return Heads(source, weight[:, columns], own, chain.factor, count, size, turned, tuple(chain.nodes))


def _turn(chain: Chain) -> bool:
    """Pass factors and a Transpose of the last two of four dimensions; whether there was one."""
    chain.scale()
    node = producer_of(chain.value, chain.reader, frozenset({"Transpose"}))
    if node is None or perm_of(node) != [0, 1, 3, 2]:
        return False
    chain.step("Transpose")
    chain.scale()
    return True


def _part(chain: Chain) -> int | None:
    """Pass what takes one element of the first dimension; its index, None if nothing does."""
    node = producer_of(chain.value, chain.reader, frozenset({"Gather", "Squeeze"}))
    if node is None:
        return None
    if node.op_type == "Gather":
        index = constant_array(node.inputs[1])
        if index is None or index.ndim != 0 or index < 0 or int_attribute(node, "axis", 0) != 0:
            return None
        chain.step("Gather")
        return int(index)
    cut = node.inputs[0].producer() if node.inputs[0] is not None else None
    if _squeezed(node) != [0] or cut is None or cut.domain != "" or cut.graph is not node.graph:
        return None
    index_of = {"Slice": _sliced, "Split": _split_index}.get(cut.op_type)
    found = None if index_of is None else index_of(cut, node.inputs[0])
    if found is not None:
        chain.nodes.extend((node, cut))
        assert cut.inputs[0] is not None
        chain.value, chain.reader = cut.inputs[0], cut
    return found


def _squeezed(node: ir.Node) -> list[int] | None:
    if len(node.inputs) > 1:
        axes = constant_array(node.inputs[1])
        return None if axes is None else axes.tolist()
    attribute = node.attributes.get("axes")
    return None if attribute is None else list(attribute.as_ints())


def _sliced(node: ir.Node, value: ir.Value | None) -> int | None:
    """Index of the one element that a Slice leaves of the first dimension."""
    arrays = [constant_array(v) for v in node.inputs[1:]]
    if len(arrays) not in (3, 4) or any(a is None or a.size != 1 for a in arrays):
        return None
    begin, end, axis, *step = (int(a.flat[0]) for a in arrays if a is not None)
    return begin if begin >= 0 and end == begin + 1 and axis == 0 and step in ([], [1]) else None


def _split_index(node: ir.Node, value: ir.Value | None) -> int | None:
    """Index of the one element of the first dimension that an output of a Split is."""
    sizes = [1 if v.shape is not None and v.shape[0] == 1 else None for v in node.outputs]
    if int_attribute(node, "axis", 0) != 0 or None in sizes or value not in node.outputs:
        return None
    return node.outputs.index(value)


def _split_begin(chain: Chain, width: int) -> int:
    """Pass a Split of the last dimension; the first column of the value."""
    producer = chain.value.producer()
    if producer is None or producer.op_type != "Split" or producer.domain != "" or producer.inputs[0] is None:
        return 0
    sizes = [v.shape[-1] if v.shape is not None else None for v in producer.outputs]
    if int_attribute(producer, "axis", 0) not in (2, -1) or any(s != width for s in sizes):
        return 0
    index = producer.outputs.index(chain.value)
    chain.nodes.append(producer)
    chain.value, chain.reader = producer.inputs[0], producer
    return index * width


def _bias(chain: Chain) -> np.ndarray[Any, Any] | None:
    """Pass an Add of a constant, which is returned flat; None if there is none."""
    node = producer_of(chain.value, chain.reader, frozenset({"Add"}))
    if node is None:
        return None
    for constant, other in (tuple(node.inputs), tuple(reversed(node.inputs))):
        array = constant_array(constant)
        if array is not None and other is not None and array.ndim in (1, 2, 3) and array.shape[-1] == array.size:
            chain.nodes.append(node)
            chain.value, chain.reader = other, node
            return array.ravel()
    return None


def _factor(node: ir.Node) -> tuple[float, ir.Value] | None:
    """The number by which a Mul or Div multiplies, and what."""
    left, right = node.inputs
    for constant, rest in ((right, left), (left, right)):
        array = constant_array(constant)
        if array is None or rest is None or array.size != 1 or rest.shape is None or array.ndim > len(rest.shape):
            continue
        number = float(array.flat[0])
        if not np.isfinite(number) or number == 0 or (node.op_type == "Div" and constant is left):
            return None
        return (1 / number if node.op_type == "Div" else number), rest
    return None


def perm_of(node: ir.Node) -> list[int] | None:
    """The order of a Transpose; None if it is left out."""
    attribute = node.attributes.get("perm")
    return None if attribute is None else list(attribute.as_ints())


def int_attribute(node: ir.Node, name: str, otherwise: int) -> int:
    """An integer attribute, or its default."""
    attribute = node.attributes.get(name)
    return otherwise if attribute is None else attribute.as_int()


def known_equal(a: int | ir.SymbolicDim, b: int | ir.SymbolicDim) -> bool:
    """Whether two sizes are equal whatever the input; sizes without a name are not known to be."""
    known = isinstance(a, int) or a.value is not None
    return known and a == b
