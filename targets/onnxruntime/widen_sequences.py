"""Lay the positions of convolutions over one axis, or their batch, along the width of convolutions over two axes.

::

    Conv(x: (1, C, L), W: (O, C, k)) -> Relu -> MaxPool
    ->  Reshape -> Conv(. : (1, C, 1, L), W: (O, C, 1, k)) -> Relu -> MaxPool -> Reshape

    Conv(x: (N, C, L), W: (O, C, k)) -> Relu
    ->  Transpose -> Conv(. : (1, C, L, N), W: (O, C, k, 1)) -> Relu -> Transpose

ONNX Runtime has its blocked layout for convolutions over two axes only, and computes runs of neighbours along the
width; one column, or a batch of short sequences, leaves it with runs of one.

*Refuses*: element types other than float32; a batch or channels of unknown size; weights, bounds and pads that are not
constant; windows that leave the one axis; pools over the batch; pointwise convolutions alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.compiler.rewriting.graph_edit import Names, bypass, drop_if_unused
from tamis.compiler.rewriting.rewrite_pass import Builder
from tamis.targets.onnxruntime.sequence_form import Form, form_of
from tamis.targets.onnxruntime.sequence_nodes import widen_node

MIN_OPSET = 10
"""Below, the bounds of a Slice are attributes."""


class Options(PassOptions):
    """Options of ``widen-sequences``."""


class WidenSequences(GraphPass[Options]):
    """Compute sequences, and batches of them, along the width.

    *Match*: a Conv over one axis of positions, ``(N, C, L)``, ``(N, C, L, 1)`` or ``(N, C, 1, L)``, whose kernel is
    longer than 1, and all that follows it on the same axis: convolutions, pools, BatchNormalization, elementwise
    operators, Slice, Pad and Concat.

    *Rewrite*: the same operators on ``(1, C, 1, L)`` if ``N = 1``, else on ``(1, C, L, N)``, with a Reshape, or a
    Transpose, where the tensors come in and go out.

    *Shapes*: ``W: (O, C, k) -> (O, C, 1, k)``, or ``(O, C, k, 1)``; what goes out has the shape it had.

    *Preserves*: the function up to rounding.

    *References*: onnxruntime/core/optimizer/nchwc_transformer.cc, version 1.32: weights must have four dimensions.
    """

    name = "widen-sequences"
    stage = Stage.LAYOUT
    contract = Contract.CLOSE
    speed_motivated = True
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        opset = model.graph.opset_imports.get("", 0)
        if opset < MIN_OPSET:
            where = model.graph.name or "graph"
            return PassResult(model, modified=False, skips=(Skip(f"opset below {MIN_OPSET}", where),))
        skips: dict[Skip, None] = {}
        count = 0
        build: Builder | None = None
        for graph in model.graphs():
            if not any(_is_head(node) for node in graph):
                continue
            build = build or Builder(Names(model), opset)
            region = _Region(build, skips, frozenset(name for domain, name, _ in model.functions if domain == ""))
            for node in list(graph):
                region.add(node)
            region.finish()
            count += len(region.widened)
        return PassResult(model, modified=count > 0, counts={"widened": count} if count else {}, skips=tuple(skips))


class _Region:
    """What has been widened in one graph.

    Args:
        build: Makes nodes.
        skips: Gets what was left alone.
        own: Standard operators that the model defines itself.
    """

    def __init__(self, build: Builder, skips: dict[Skip, None], own: frozenset[str]) -> None:
        self.widened: dict[ir.Node, Form] = {}
        self._build = build
        self._skips = skips
        self._own = own
        self._twins: dict[ir.Value, ir.Value] = {}
        self._forms: dict[ir.Value, Form] = {}
        self._entered: dict[ir.Value, ir.Value] = {}

    def add(self, node: ir.Node) -> None:
        """Widen ``node`` if what it reads is wide, or if it is where a region begins."""
        if node.domain != "" or node.op_type in self._own:
            return
        forms = {self._forms[v] for v in node.inputs if v is not None and v in self._forms}
        enters = not forms and _is_head(node)
        if not enters and len(forms) != 1:
            return
        first, output = node.inputs[0], node.outputs[0]
        self._build.before(node)
        form = form_of(first) if enters else forms.pop()
        assert form is not None and first is not None
        twins: Mapping[ir.Value, ir.Value] = self._twins
        if enters:
            entered = self._entered.get(first)
            twins = {first: form.widen(first, self._build) if entered is None else entered}
        made = self._widen(node, form, twins)
        if isinstance(made, str):
            self._build.undo()
            self._skips[Skip(made, node.name or output.name or node.op_type)] = None
            return
        if enters:
            self._entered[first] = twins[first]
        form.describe(made, output)
        self._twins[output], self._forms[output], self.widened[node] = made, form, form

    def _widen(self, node: ir.Node, form: Form, twins: Mapping[ir.Value, ir.Value]) -> ir.Value | str:
        shape, dtype = node.outputs[0].shape, node.outputs[0].dtype
        if dtype is not None and dtype != ir.DataType.FLOAT:
            return "not float32"
        if shape is None or len(shape) != form.rank or shape[0] != form.batch or not isinstance(shape[1], int):
            return "the shape of the output is not known"
        return widen_node(node, form, twins, self._build)

    def finish(self) -> None:
        """Take out the nodes that have wide twins; give others that read them their own form again."""
        constants: dict[ir.Value | None, None] = {}
        for node, form in reversed(self.widened.items()):  # readers go before what they read
            output = node.outputs[0]
            constants.update(dict.fromkeys(node.inputs))
            if output.uses() or output.is_graph_output():
                self._build.before(node)
                assert bypass(node, form.narrow(self._twins[output], output, self._build))
            else:
                assert node.graph is not None
                node.graph.remove(node, safe=True)
        drop_if_unused(constants)


def _is_head(node: ir.Node) -> bool:
    """Whether a region may begin at ``node``."""
    if node.op_type != "Conv" or node.domain != "" or len(node.inputs) < 2:
        return False
    weight, form = constant_tensor(node.inputs[1]), form_of(node.inputs[0])
    if weight is None or form is None or weight.dtype != ir.DataType.FLOAT:
        return False
    kernel = weight.shape.numpy()[2:]
    return max(kernel, default=1) > 1 and form.along(kernel) is not None
