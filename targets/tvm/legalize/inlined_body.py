"""The nodes that a call of a function stands for, moved into the graph of the call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from tamis.compiler.rewriting.operators import has_subgraph
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.moved_nodes import move_before, rename
from tamis.targets.tvm.legalize.node_outputs import replace_outputs

if TYPE_CHECKING:
    import onnx

OWN_IR_VERSION = 8
"""The first IR version in which a model may define functions."""


class Bodies:
    """Expands calls with ONNX's own inliner, each in a model of its own.

    Args:
        model: With the functions that it defines.
        operators: Standard operators to expand by the functions that ONNX defines for them.
    """

    def __init__(self, model: ir.Model, operators: Collection[str]) -> None:
        self._model = model
        self._operators = [("", name) for name in sorted(operators)]
        self._callees: dict[ir.OperatorIdentifier, dict[ir.OperatorIdentifier, onnx.FunctionProto]] = {}

    def can_expand(self, node: ir.Node) -> bool:
        """Whether ``node`` calls a function of the model, or is one of the operators."""
        return node.op_identifier() in self._model.functions or (node.domain, node.op_type) in self._operators

    def expand(self, node: ir.Node, build: Builder) -> str | None:
        """Put what ``node`` stands for in its place; returns why that is not possible, or None."""
        if has_subgraph(node):
            return "it has a subgraph"
        own = node.op_identifier() in self._model.functions
        if not own and any(v is not None and v.dtype is None for v in node.inputs):
            return "the type of an input is not known"
        inlined = self._inlined(node)
        if isinstance(inlined, str):
            return inlined
        for imported in inlined.opset_import:
            self._model.graph.opset_imports.setdefault(imported.domain, imported.version)
        inner = ir.from_proto(inlined)
        rename(inner.graphs(), build.names)
        given = (v for v in dict.fromkeys(node.inputs) if v is not None)
        passed = dict(zip(inner.graph.inputs, given, strict=True))
        for parameter, value in passed.items():
            parameter.replace_all_uses_with(value)
        results = iter(move_before(node, inner.graph))
        build.before(node)
        found = [next(results) if output.name else None for output in node.outputs]
        replace_outputs(node, [None if value is None else passed.get(value, value) for value in found], build)
        return None

    def _inlined(self, node: ir.Node) -> onnx.ModelProto | str:
        import onnx.inliner

        model = self._call(node)
        try:
            model = onnx.inliner.inline_local_functions(model, convert_version=True)
            if self._operators:
                model = onnx.inliner.inline_selected_functions(model, self._operators, inline_schema_functions=True)
        except RuntimeError as error:
            return f"ONNX's inliner refuses it: {error}"
        if any((inner.domain, inner.op_type) == (node.domain, node.op_type) for inner in model.graph.node):
            return "no function is defined for it in this operator set"
        return model

    def _call(self, node: ir.Node) -> onnx.ModelProto:
        """A model of nothing but ``node`` and the functions behind it."""
        import onnx

        names = {value: f"input_{i}" for i, value in enumerate(v for v in dict.fromkeys(node.inputs) if v is not None)}
        call = ir.serde.serialize_node(node)
        del call.input[:], call.output[:]
        call.input.extend("" if v is None else names[v] for v in node.inputs)
        call.output.extend(f"output_{i}" if v.name else "" for i, v in enumerate(node.outputs))
        model = onnx.ModelProto(ir_version=max(self._model.ir_version, OWN_IR_VERSION))
        opsets = self._model.graph.opset_imports
        model.opset_import.extend(onnx.OperatorSetIdProto(domain=d, version=v) for d, v in opsets.items())
        model.functions.extend(self._functions(node.op_identifier()).values())
        defaults = {(f.domain, f.name, f.overload): list(f.attribute_proto) for f in model.functions}
        if not model.functions:
            schema = onnx.defs.get_schema(node.op_type, opsets[""])
            defaults["", node.op_type, node.overload] = [a.default_value for a in schema.attributes.values()]
            model.functions.extend(_definition(schema, call, node, opsets[""]))
        model.graph.name = node.op_type
        model.graph.node.append(call)
        for nodes in (model.graph.node, *(function.node for function in model.functions)):
            _write_defaults(nodes, defaults)
        inputs = (ir.Value(name=name, type=value.type, shape=value.shape) for value, name in names.items())
        model.graph.input.extend(ir.serde.serialize_value(value) for value in inputs)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in call.output if name)
        return model

    def _functions(self, called: ir.OperatorIdentifier) -> dict[ir.OperatorIdentifier, onnx.FunctionProto]:
        """The function of the model that is ``called``, and all that it calls itself; none for an operator."""
        if called not in self._callees:
            found: dict[ir.OperatorIdentifier, onnx.FunctionProto] = {}
            pending = [called]
            while pending:
                name = pending.pop()
                if name in self._model.functions and name not in found:
                    function = self._model.functions[name]
                    found[name] = ir.serde.serialize_function(function)
                    pending.extend(node.op_identifier() for node in function.all_nodes())
            self._callees[called] = found
        return self._callees[called]


def _definition(schema: Any, call: onnx.NodeProto, node: ir.Node, opset: int) -> Iterator[onnx.FunctionProto]:
    """The function of an operator whose function depends on the call: ONNX's inliner asks for types of absent inputs."""
    import onnx

    versions = [version for version in schema.context_dependent_function_opset_versions if version <= opset]
    if not versions:
        return
    types = [b"" if v is None else ir.serde.serialize_value(v).type.SerializeToString() for v in node.inputs]
    found = schema.get_context_dependent_function_with_opset_version(max(versions), call.SerializeToString(), types)
    function = onnx.FunctionProto.FromString(found)
    if function.node:
        function.ClearField("opset_import")
        function.opset_import.append(onnx.OperatorSetIdProto(domain="", version=opset))
        yield function


def _write_defaults(
    nodes: Iterable[onnx.NodeProto], defaults: Mapping[ir.OperatorIdentifier, Sequence[onnx.AttributeProto]]
) -> None:
    """Give calls the attributes that they leave to their default: ONNX's inliner knows none."""
    for node in nodes:
        given = {attribute.name for attribute in node.attribute}
        missing = defaults.get((node.domain, node.op_type, node.overload), ())
        node.attribute.extend(a for a in missing if a.type and a.name not in given)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _write_defaults(attribute.g.node, defaults)
