"""What is looked at: a model whose input sizes are decided, canonicalized as every recipe begins, with something to feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from tamis.compiler.adversarial import random_feeds
from tamis.compiler.feeds import SEED, read_feeds, read_shape
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.compiler.input_spec import InputSpec
from tamis.compiler.model_file import load_model
from tamis.compiler.pipeline import count_nodes
from tamis.compiler.registry import pass_class
from tamis.compiler.resolve_inputs import resolve_inputs
from tamis.compiler.rewriting.graph_edit import Names

FIRST_PASS = "canonicalize"


@dataclass(frozen=True)
class Subject:
    """A model to look at.

    Args:
        path: Where it came from.
        model: Its nodes have unique names.
        nodes_given: Nodes in the file.
        spec: The inputs; None while a size is not known.
        feeds: What to run it with; None while a size is not known.
        open_inputs: Inputs of which a size is not known, as ``--shape`` wants them.
    """

    path: Path
    model: ir.Model
    nodes_given: int
    spec: InputSpec | None
    feeds: Feeds | None
    open_inputs: tuple[str, ...] = ()

    @property
    def hint(self) -> str | None:
        """What to do about sizes that are not known; None if all are."""
        return f"add {' '.join(f'--shape {i}' for i in self.open_inputs)}" if self.open_inputs else None


def open_subject(path: Path, shapes: Sequence[str] = (), inputs: Sequence[str] = (), *, as_is: bool = False) -> Subject:
    """Load a model and specialise it as ``tamis compile`` does.

    Args:
        path: An ONNX file.
        shapes: ``NAME=SIZE,SIZE,...`` of dynamic inputs.
        inputs: ``FILE.npz``, ``NAME=FILE.npy`` or ``NAME=IMAGE``; without, inputs are seeded random ones.
        as_is: Leave the graph as it is in the file.

    Raises:
        ModelError: The model cannot be read.
        DataError: The inputs cannot be read, or do not fit.
        RecipeError: A shape does not fit, or is given for some of the dynamic inputs only.
    """
    model = load_model(path)
    nodes = count_nodes(model)
    values = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    sections = dict(read_shape(text) for text in shapes)
    feeds: Feeds | None = read_feeds(inputs, values) if inputs else None
    unknown = tuple(text for v in values if (text := _open(v)) is not None)
    spec = None
    if sections or feeds is not None or not unknown:
        spec = resolve_inputs(model, sections, feeds)
        feeds = feeds if feeds is not None else next(iter(random_feeds(spec, SEED, 1)))
    if not as_is:
        pass_class(FIRST_PASS)()(model, PassContext(inputs=spec))
    name_nodes(model)
    return Subject(path, model, nodes, spec, feeds, unknown if spec is None else ())


def _open(value: ir.Value) -> str | None:
    """The shape of an input as ``--shape`` wants it, with ``?`` for unknown sizes; None if only the batch is open."""
    name = str(value.name)
    if value.shape is None:
        return f"{name}=..."
    sizes = [d if isinstance(d, int) and d >= 0 else None for d in value.shape]
    if None not in sizes[1:]:
        return None
    sizes[0] = sizes[0] or 1
    return f"{name}={','.join('?' if d is None else str(d) for d in sizes)}"


def name_nodes(model: ir.Model) -> None:
    """Give every node a name that no other has; good names stay."""
    names: Names | None = None
    seen: set[str] = set()
    for node in model.graph.all_nodes():
        if not node.name or node.name in seen:
            names = names or Names(model)
            base = next((v.name for v in node.outputs if v.name), None)
            node.name = names.fresh(f"{node.op_type}_{base}" if base else node.op_type)
        seen.add(node.name)
