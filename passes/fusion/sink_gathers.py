"""Apply elementwise operators to the rows of a table instead of to the rows that are taken from it.

::

    f(Gather(T, i))                    ->  Gather(f(T), i)
    Gather(T, i) * Sigmoid(Gather(T, i) + b)   ->  Gather(T * Sigmoid(T + b), i)

``f(T)`` is known before the model runs: ``canonicalize`` folds it.

*Refuses*: tables that are not constant matrices of 32 or 64 bits, or that something else reads; another axis than the
first; operands that are neither constant,
scalar or one number a column, nor rows taken with the same indices.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_array, constant_tensor
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.compiler.rewriting.rewrite_pass import Builder, remove_unread

ELEMENTWISE = frozenset(
    [
        "Abs",
        "Add",
        "Clip",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mul",
        "Neg",
        "Pow",
        "Reciprocal",
        "Relu",
        "Sigmoid",
        "Softplus",
        "Sqrt",
        "Sub",
        "Tanh",
    ]
)
FOLDED = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64})
"""Element types whose arithmetic is folded; otherwise the whole table would be computed each time."""
MIN_OPSET = 7
"""Below, broadcasting is governed by attributes."""


class Options(PassOptions):
    """Options of ``sink-gathers``."""


class SinkGathers(GraphPass[Options]):
    """Move a Gather of constant rows behind the elementwise operators that follow it.

    *Match*: a Gather along the first axis of a constant matrix, and all elementwise operators behind it whose other
    operands are constants, scalar or one number a column, or rows taken with the same indices.

    *Rewrite*: the operators on the whole table, then one Gather for each value that something else reads.

    *Shapes*: ``T: (R, M)``, ``i: (..)``, the result is ``(.., M)``.

    *Preserves*: bits on the same kernels; a kernel may round a number otherwise at another place in its loop.

    *References*: indexing commutes with elementwise functions.
    """

    name = "sink-gathers"
    stage = Stage.FUSE
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if opset < MIN_OPSET:
            where = model.graph.name or "graph"
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        own = {name for domain, name, _ in model.functions if domain == ""}
        count, build = 0, None
        for graph in model.graphs():
            if not own & {"Gather"} and any(_is_lookup(node) for node in graph):
                build = build or Builder(Names(model), opset)
                count += _sink(graph, ELEMENTWISE - own, build)
        return PassResult(model, modified=count > 0, counts={"operators on tables": count} if count else {})


def _sink(graph: ir.Graph, operators: frozenset[str], build: Builder) -> int:
    """Sink the Gathers of one graph; returns behind how many operators."""
    lookups: dict[ir.Value, ir.Node] = {}
    tables: dict[ir.Value, ir.Value] = {}
    sunk: list[ir.Node] = []
    constants: dict[ir.Value | None, None] = {}
    for node in list(graph):
        output = node.outputs[0] if node.outputs else None
        if output is None:
            continue
        if _is_lookup(node):
            table = node.inputs[0]
            assert table is not None
            constants[table] = None
            lookups[output], tables[output] = node, table
        elif node.op_type in operators and node.domain == "":
            lookup = _common_lookup(node, lookups)
            if lookup is not None:
                build.before(node)
                tables[output], lookups[output] = _on_tables(node, tables, build), lookup
                sunk.append(node)
    for node in reversed(sunk):  # readers go before what they read
        output = node.outputs[0]
        constants.update(dict.fromkeys(node.inputs))
        if output.uses() or output.is_graph_output():
            build.before(node)
            row = build.op("Gather", tables[output], lookups[output].inputs[1], like=output, axis=0)
            assert bypass(node, row)
        else:
            graph.remove(node, safe=True)
    if sunk:
        remove_unread(dict.fromkeys(lookups.values()))
    drop_if_unused(constants)
    return len(sunk)


def _is_lookup(node: ir.Node) -> bool:
    """Whether ``node`` takes rows of a constant matrix."""
    if node.op_type != "Gather" or node.domain != "" or node.attributes.get_int("axis", 0) != 0:
        return False
    value = node.inputs[0]
    table = constant_tensor(value)
    if value is None or table is None or len(table.shape) != 2 or table.dtype not in FOLDED:
        return False
    alone = all(use.node.op_type == "Gather" and use.idx == 0 for use in value.uses())
    return alone and not value.is_graph_output() and node.outputs[0].shape is not None


def _common_lookup(node: ir.Node, lookups: dict[ir.Value, ir.Node]) -> ir.Node | None:
    """The Gather whose rows ``node`` reads, if they are all that it reads but for constants; a first one of several."""
    found: ir.Node | None = None
    for value in node.inputs:
        if value is None:
            continue
        lookup = lookups.get(value)
        if lookup is None:
            if constant_tensor(value) is None:
                return None
        elif found is None:
            found = lookup
        elif found.inputs[1] is not lookup.inputs[1] or _table_shape(found) != _table_shape(lookup):
            return None
    if found is None or len(node.outputs) != 1:
        return None
    shape, columns = found.outputs[0].shape, _table_shape(found)[1]
    assert shape is not None
    operands = [t for v in node.inputs if v is not None and v not in lookups and (t := constant_tensor(v)) is not None]
    return found if all(_fits(tuple(t.shape.numpy()), len(shape), columns) for t in operands) else None


def _table_shape(lookup: ir.Node) -> tuple[int, ...]:
    table = constant_tensor(lookup.inputs[0])
    assert table is not None
    return tuple(table.shape.numpy())


def _fits(shape: tuple[int, ...], rank: int, columns: int) -> bool:
    """Whether a constant of ``shape`` is one number, or one a column, and does not enlarge what it meets."""
    return len(shape) <= rank and all(n == 1 for n in shape[:-1]) and (not shape or shape[-1] in (1, columns))


def _on_tables(node: ir.Node, tables: dict[ir.Value, ir.Value], build: Builder) -> ir.Value:
    """``node`` on tables in place of rows."""
    inputs: list[object] = []
    like = None
    for value in node.inputs:
        if value in tables:
            like = tables[value]
            inputs.append(like)
        else:
            array = constant_array(value)
            inputs.append(value if array is None or array.ndim < 2 else array.reshape(array.shape[-1]))
    attributes = {name: a.value for name, a in node.attributes.items()}
    return build.op(node.op_type, *inputs, like=like, **attributes)  # type: ignore[arg-type]
