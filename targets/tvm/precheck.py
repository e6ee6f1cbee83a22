"""Whether TVM can compile a model, and compute it right: said node by node, before any work and without TVM.

TVM's importer goes by the names of operators alone: domains, most versions and some attributes are nothing to it. What
it makes wrong of them is in the table ``importer_gaps.yaml``, found by taking ONNX's own test suite through it.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from tamis.compiler.rewriting.constants import constant_tensor
from tamis.targets.tvm.gap_table import gap_table
from tamis.targets.tvm.node_facts import rank_of, type_name

STANDARD = ("", "ai.onnx")
LOOPS = ("Loop", "Scan")


def unsupported_nodes(model: ir.Model) -> list[str]:
    """One line a node that TVM cannot compile or would compute wrong: name, operator with its domain, reasons.

    Nodes of subgraphs count. Calls of the model's own functions are listed too: they are to be expanded before.
    """
    opset = max((v for d, v in model.graph.opset_imports.items() if d in STANDARD), default=1)
    shapes = _shape_values(model)
    lines = []
    for node in model.graph.all_nodes():
        if reasons := list(dict.fromkeys(_reasons(node, model, opset, shapes))):
            domain = "" if node.domain in STANDARD else f"{node.domain}::"
            lines.append(f"{node.name or '(no name)'} ({domain}{node.op_type}): {'; '.join(reasons)}")
    return lines


def _reasons(node: ir.Node, model: ir.Model, opset: int, shapes: set[ir.Value]) -> Iterator[str]:
    table = gap_table()
    if node.op_identifier() in model.functions:
        yield "it is a function of the model, which TVM does not expand"
        return
    if node.domain not in STANDARD:
        yield "TVM imports operators of ONNX only"
        return
    if node.op_type in LOOPS:
        yield "TVM imports no loops"
        return
    if node.op_type not in table.operators and node.op_type != "Constant":
        yield f"TVM {table.tvm} does not import this operator"
        return
    yield from _unknown_types(node)
    for gap in table.of(node.op_type):
        if gap.holds(node, opset, shapes):
            yield f"TVM computes it wrong: {gap.reason}" if gap.wrong else gap.reason
    yield from _shape_reasons(node, shapes)


def _unknown_types(node: ir.Node) -> Iterator[str]:
    for value in (*node.inputs, *node.outputs):
        name = type_name(value)
        if name is not None and name not in gap_table().types | {"undefined"}:
            yield f"TVM does not compute with values of type {name}"


def _shape_values(model: ir.Model) -> set[ir.Value]:
    """What TVM holds as a shape rather than as a tensor: outputs of ``Shape`` and what is cut and joined from them.

    Joined constants of int64 are a shape to it as well.
    """
    found: set[ir.Value] = set()
    for node in model.graph.all_nodes():
        if node.domain in STANDARD and (node.op_type == "Shape" or _keeps_shape(node, found)):
            found.update(node.outputs)
    return found


def _keeps_shape(node: ir.Node, shapes: set[ir.Value]) -> bool:
    if node.op_type not in gap_table().shape_keepers:
        return False
    others = [value for value in node.inputs if value is not None and constant_tensor(value) is None]
    if not others:
        return node.op_type == "Concat" and all(type_name(value) == "int64" for value in node.inputs)
    return all(value in shapes for value in others)


def _shape_reasons(node: ir.Node, shapes: set[ir.Value]) -> Iterator[str]:
    vectors = [value for value in node.inputs if value in shapes and rank_of(value) != 0]
    if vectors and node.op_type not in gap_table().shape_readers:
        yield "it computes with sizes, which to TVM are a shape and no tensor"
    if any(value in shapes and rank_of(value) == 0 and value.is_graph_output() for value in node.outputs):
        yield "its result is a graph output, but to TVM it is a size and no tensor"
