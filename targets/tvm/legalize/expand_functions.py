"""Put the bodies of functions in the place of their calls, and of operators that ONNX defines as functions.

::

    my.Block(x)            ->  the nodes of the model's function my.Block
    Celu<alpha>(x)         ->  Mul(Elu(Div(x, alpha)), alpha)
    Attention(q, k, v)     ->  Reshape, MatMul, Add, Softmax, MatMul, ...

TVM reads no functions, and goes by the name of an operator whatever its domain.

*Refuses*: calls with subgraphs, or with inputs of unknown type; operators that have no function in the operator set of
the model.
"""

from __future__ import annotations

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.tvm.legalize.inlined_body import Bodies

OPERATORS = frozenset(
    {"Attention", "BlackmanWindow", "CausalConvWithState", "Celu", "CenterCropPad", "HammingWindow", "HannWindow"}
    | {"LinearAttention", "NegativeLogLikelihoodLoss", "RotaryEmbedding", "SoftmaxCrossEntropyLoss", "SwiGLU", "Swish"}
)
"""What TVM 0.27 does not import and ONNX defines as a function."""
FLOAT_ONLY = frozenset({"Elu", "Selu"})
"""What TVM 0.27 imports for float32 only; ONNX defines it as a function from operator set 18 on."""
FIRST_DEFINED = 18
OTHER_FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.DOUBLE})


class Options(PassOptions):
    """Options of ``expand-functions``."""


class ExpandFunctions(GraphPass[Options]):
    """Expand functions down to operators that TVM imports.

    *Match*: calls of functions of the model, and the standard operators of ``OPERATORS``; Elu and Selu of float16 and
    float64.

    *Rewrite*: the nodes of the function, with functions that these call expanded as well; functions of the model go. A
    function that asks for another operator set than the model's is converted to it.

    *Preserves*: the function up to rounding: a runtime's own kernel for an operator may compute in another order.

    *References*: onnx.inliner; the functions in the operators' definitions of ONNX.
    """

    name = "expand-functions"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        build = Builder(Names(model), model.graph.opset_imports.get("", 0))
        own = {name for domain, name, _ in model.functions if domain == ""}
        narrow = OPERATORS if build.opset < FIRST_DEFINED else OPERATORS | FLOAT_ONLY
        usual, typed = Bodies(model, OPERATORS - own), Bodies(model, narrow - own)
        skips: dict[Skip, None] = {}
        count = 0
        for node in [node for graph in model.graphs() for node in graph]:
            bodies = typed if node.outputs[0].dtype in OTHER_FLOATS else usual
            if not bodies.can_expand(node):
                continue
            reason = bodies.expand(node, build)
            if reason is None:
                count += 1
            else:
                skips[Skip(reason, node.name or node.outputs[0].name or node.op_type)] = None
        called = any(node.op_identifier() in model.functions for graph in model.graphs() for node in graph)
        gone = 0 if called else len(model.functions)
        if not called:
            model.functions.clear()
        counts = {"calls expanded": count, "functions removed": gone}
        return PassResult(model, count + gone > 0, {what: n for what, n in counts.items() if n}, tuple(skips))
