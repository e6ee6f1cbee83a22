"""What a constant channel adds to the result of a weight, moved into the bias.

::

    Conv     b_m += sum of W[m, c] * x_c        unless the taps meet padding: see ``borders``
    Gemm     C   += alpha x W
    MatMul   an Add behind it, or the constant of the one that is there
    LSTM     B   += W x, of each gate
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_array, constant_tensor, constant_value, set_constant
from tamis.compiler.rewriting.graph_edit import Names, sole_user
from tamis.passes.pruning.axes.axis import Axis, Slot
from tamis.passes.pruning.dead.borders import padded_taps
from tamis.passes.pruning.dead.fact import Array
from tamis.passes.pruning.dead.recurrent import CANDIDATE
from tamis.passes.pruning.dead.weights import weight

BIAS = {"Conv": 2, "Gemm": 2, **{name: 3 for name in CANDIDATE}}
"""Operator -> input that is its bias."""


def takes(axis: Axis) -> Array:
    """Which positions along the input axis of a weight may meet a constant that the bias takes over, ``(positions,)``."""
    slot = axis.tensor
    assert isinstance(slot, Slot)
    node, array = slot.node, weight(axis)
    nowhere, everywhere = np.zeros(len(array), bool), np.ones(len(array), bool)
    if node.domain != "" or array.dtype.kind != "f":
        return nowhere
    bias = BIAS.get(node.op_type)
    given = node.inputs[bias] if bias is not None and bias < len(node.inputs) else None
    if given is not None and constant_tensor(given) is None:
        return nowhere
    if node.op_type == "Conv":
        touched = padded_taps(node, array.shape[2:])
        return np.asarray(~array[:, :, touched].any(axis=(1, 2)))
    if node.op_type in CANDIDATE:
        return everywhere if slot.index == 1 else nowhere
    return everywhere if node.op_type in ("Gemm", "MatMul") else nowhere


def added(axis: Axis, value: Array) -> Array:
    """What channels that are constant add to the result of a weight.

    Args:
        axis: Input axis of the weight.
        value: ``(positions, n)``, float64: of each channel that it meets; zero where that is not constant.

    Returns:
        Broadcasts to the result; of a Conv ``(M,)``, of a recurrent operator ``(D, G H)``.
    """
    slot = axis.tensor
    assert isinstance(slot, Slot)
    node, array = slot.node, weight(axis).astype(np.float64)
    if node.op_type == "Conv":
        groups = value.shape[1]
        sums = array.reshape(*array.shape[:2], -1).sum(axis=2)  # (positions, M)
        parts = sums.reshape(len(sums), groups, -1) * value[:, :, None]
        return np.asarray(parts.sum(axis=0).ravel())
    whole = np.moveaxis(array * value[:, 0].reshape(-1, *(1,) * (array.ndim - 1)), 0, axis.index)
    if node.op_type in CANDIDATE:
        return np.asarray(whole.sum(axis=2))
    alpha = node.attributes.get_float("alpha", 1.0) if node.op_type == "Gemm" else 1.0
    total = np.asarray(alpha * whole.sum(axis=axis.index, keepdims=True))
    if node.op_type == "Gemm":
        return total.T if node.attributes.get_int("transB" if slot.index else "transA", 0) else total
    other = node.inputs[1 - slot.index]
    is_vector = other is not None and other.shape is not None and len(other.shape) == 1
    return total.squeeze(axis.index) if is_vector or array.ndim == 1 else total


def add(slot: Slot, amount: Array, names: Names) -> None:
    """Add ``amount``, as ``added`` gives it, to the bias of the node of a weight."""
    node, tensor = slot.node, constant_tensor(slot.value)
    assert tensor is not None
    dtype = tensor.dtype.numpy()
    if node.op_type == "MatMul":
        _add_behind(node, amount.astype(dtype), names)
        return
    index = BIAS[node.op_type]
    array = constant_array(node.inputs[index]) if index < len(node.inputs) else None
    old = None if array is None else array.astype(np.float64)
    if node.op_type in CANDIDATE:
        old = np.zeros((len(amount), 2 * amount.shape[1])) if old is None else old.copy()
        old[:, : amount.shape[1]] += amount
        total = old
    elif node.op_type == "Gemm":
        row = amount[0] if len(amount) == 1 else amount
        total = row if old is None else row + node.attributes.get_float("beta", 1.0) * old
        node.attributes.pop("beta", None)
    else:
        total = amount if old is None else amount + old
    set_constant(node, index, total.astype(dtype), names.fresh(f"{node.name or node.op_type}_bias"))


def _add_behind(node: ir.Node, amount: Array, names: Names) -> None:
    """Into the constant of an Add that alone reads the product, or of a new one."""
    while amount.ndim > 1 and len(amount) == 1:
        amount = amount[0]
    product = node.outputs[0]
    reader = sole_user(product)
    if reader is not None and reader.op_type == "Add" and reader.domain == "":
        index = 1 if reader.inputs[0] is product else 0
        constant = constant_array(reader.inputs[index])
        if constant is not None and product.shape is not None and constant.ndim <= len(product.shape):
            total = (constant.astype(np.float64) + amount).astype(amount.dtype)
            set_constant(reader, index, total, names.fresh(f"{reader.name or 'Add'}_bias"))
            return
    assert node.graph is not None
    name = names.fresh(f"{node.name or 'MatMul'}_bias")
    constant_input = constant_value(name, ir.tensor(amount, name=name))
    node.graph.register_initializer(constant_input)
    addition = ir.Node("", "Add", [product, constant_input], name=names.fresh(f"{node.name or 'MatMul'}_add"))
    result = addition.outputs[0]
    result.name, result.type, result.shape = names.fresh(f"{product.name}_shifted"), product.type, product.shape
    node.graph.insert_after(node, addition)
    renamed = product.is_graph_output()
    product.replace_all_uses_with(result, replace_graph_outputs=True)
    addition.replace_input_with(0, product)
    if renamed:
        product.name, result.name = result.name, product.name
