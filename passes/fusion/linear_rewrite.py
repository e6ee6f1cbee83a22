"""Write folded parameters into a linear node and take the folded nodes out of the graph."""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.rewriting.constants import set_constant
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.passes.fusion.affine_nodes import data_input
from tamis.passes.fusion.linear_chain import Chain


def rewrite(chain: Chain, names: Names) -> None:
    """Carry out ``chain``, which must pay.

    Args:
        chain: As found; its nodes are gone afterwards, its linear node has new parameters.
        names: Free names of the model.
    """
    assert chain.linear is not None
    node, stored = chain.linear.node, chain.linear.stored()
    assert stored is not None and node.graph is not None
    weight, bias = stored
    constants = [v for n in (node, *chain.after, *chain.before) for v in n.inputs]
    label = node.name or node.outputs[0].name or node.op_type
    set_constant(node, 1, weight, names.fresh(f"{label}_weight"))
    if chain.linear.has_bias and (bias.any() or len(node.inputs) > 2):
        set_constant(node, 2, bias, names.fresh(f"{label}_bias"))
        node.attributes.pop("beta", None)
    if chain.before:
        node.replace_input_with(0, data_input(chain.before[-1]))
        node.graph.remove(chain.before, safe=True)
    result = node.outputs[0]
    if chain.needs_add:
        add = ir.node("Add", [result, None], name=chain.after[-1].name if chain.after else names.fresh(f"{label}_add"))
        add.outputs[0].name = names.fresh(f"{label}_biased")
        node.graph.insert_after(node, add)
        set_constant(add, 1, bias, names.fresh(f"{label}_bias"))
        _redirect(result, add)
        result = add.outputs[0]
    for folded in chain.after:
        name = folded.outputs[0].name
        if bypass(folded, result) and not result.is_graph_output():
            result.name = name  # a value keeps its name only as long as it means the same
    drop_if_unused(dict.fromkeys(constants))


def _redirect(value: ir.Value, node: ir.Node) -> None:
    """Let all readers of ``value`` but ``node`` read the output of ``node``, which takes over its name as graph output."""
    output = node.outputs[0]
    output.type, output.shape = value.type, value.shape
    renamed = value.is_graph_output()
    value.replace_all_uses_with(output, replace_graph_outputs=True)
    node.replace_input_with(0, value)
    if renamed:
        value.name, output.name = output.name, value.name
