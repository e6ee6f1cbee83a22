"""Small random legal graphs by seed, of everything that has a rule: images, sequences, and ways between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.passes.canonicalize.canonicalize import Canonicalize
from tests import models
from tests.models import Array

OPSETS = range(13, 22)
BATCH = 2


@dataclass
class Sketch:
    """A graph under construction, as ONNX text.

    Args:
        random: Decides everything.
        opset: Of the standard operators.
        dynamic: Whether the size of the batch is left open.
        rank: Of the tensors that grow now: 4 images, 3 sequences.
        shapes: Tensor -> shape, in the order of their making.
        constants: Initializer -> elements.
        lines: Nodes.
        moves: Names of the moves that were made.
    """

    random: np.random.Generator
    opset: int
    dynamic: bool = False
    rank: int = 4
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)

    def choose(self, *options: Any) -> Any:
        """One of ``options``."""
        return options[int(self.random.integers(len(options)))]

    def flag(self) -> bool:
        """True or False."""
        return bool(self.random.integers(2))

    def newest(self, rank: int) -> str:
        """A tensor of so many axes, the newest one by preference."""
        found = [name for name, shape in self.shapes.items() if len(shape) == rank]
        return found[-1] if self.random.random() < 0.75 else str(self.choose(*found[-4:]))

    def has(self, rank: int) -> bool:
        """Whether there is a tensor of so many axes."""
        return any(len(shape) == rank for shape in self.shapes.values())

    def fresh(self, prefix: str = "t") -> str:
        """A free name."""
        return f"{prefix}{len(self.lines)}_{len(self.constants)}"

    def op(self, text: str, *shape: int) -> str:
        """Add ``name = text`` and give the name."""
        name = self.fresh()
        self.lines.append(f"{name} = {text}")
        self.shapes[name] = shape
        return name

    def ops(self, text: str, *shapes: tuple[int, ...]) -> list[str]:
        """The same for a node of several outputs."""
        names = [f"{self.fresh()}_{i}" for i in range(len(shapes))]
        self.lines.append(f"{', '.join(names)} = {text}")
        self.shapes |= dict(zip(names, shapes, strict=True))
        return names

    def weight(self, *shape: int, fan_in: int = 1) -> str:
        """Normal numbers over the root of ``fan_in``; sometimes an initializer of that shape that is there already."""
        same = [n for n, a in self.constants.items() if n.startswith("w") and a.shape == shape]
        if same and self.random.random() < 0.3:
            return same[0]
        return self.constant(self.random.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(fan_in)), "w")

    def positive(self, *shape: int) -> str:
        """Numbers between 0.5 and 2."""
        return self.constant(self.random.uniform(0.5, 2, shape).astype(np.float32), "p")

    def number(self, value: float) -> str:
        """A scalar."""
        return self.constant(np.array(value, np.float32), "c")

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape, in one of the ways to spell the target."""
        before, target = self.shapes[x], list(shape)
        open_ = int(self.random.integers(-1, len(shape)))
        if shape[0] != before[0]:
            open_ = 0
        for i, size in enumerate(shape):
            if i == open_:
                target[i] = -1
            elif i < len(before) and before[i] == size and (i == 0 or self.flag()):
                target[i] = 0 if self.flag() or self.dynamic else size
        return self.op(f"Reshape ({x}, {self.integers(*target)})", *shape)

    def integers(self, *values: int) -> str:
        """A vector of integers."""
        return self.constant(np.array(values, np.int64), "i")

    def constant(self, array: Array, prefix: str) -> str:
        """Any constant."""
        name = self.fresh(prefix)
        self.constants[name] = array
        return name


Move = Callable[[Sketch], object]


@dataclass(frozen=True)
class RandomGraph:
    """A model, canonicalized, with one sample.

    Args:
        model: All inputs and outputs are floats or indices.
        feeds: For its inputs.
        moves: How it was made.
    """

    model: ir.Model
    feeds: dict[str, Array]
    moves: tuple[str, ...]


def random_graph(seed: int) -> RandomGraph:
    """The graph of that seed, always the same; its first move is the seed's turn of all moves."""
    from tests.passes.pruning.random_channel_moves import CHANNEL_MOVES, projection
    from tests.passes.pruning.random_image_moves import IMAGE_MOVES, start_image, to_sequence
    from tests.passes.pruning.random_sequence_moves import SEQUENCE_MOVES, start_sequence, to_image

    random = np.random.default_rng(seed)
    every = (*((move, 4) for move in IMAGE_MOVES), *((move, 3) for move in SEQUENCE_MOVES))
    every += tuple((move, rank) for move in CHANNEL_MOVES for rank in (3, 4))
    first, rank = every[seed % len(every)]
    w = Sketch(random, int(random.choice(OPSETS)), dynamic=random.random() < 0.25, rank=rank)
    feeds = (start_image if rank == 4 else start_sequence)(w)
    _move(w, [first])
    projection(w)
    for _ in range(int(random.integers(1, 6))):
        _move(w, w.choose(CHANNEL_MOVES, IMAGE_MOVES if w.rank == 4 else SEQUENCE_MOVES))
        if w.flag():  # what no weight reads is frozen, and hides what came before
            projection(w)
        if random.random() < 0.15:
            (to_sequence if w.rank == 4 else to_image)(w)
    outputs = _finish(w)
    inputs = [_typed(w, name, "int64" if array.dtype == np.int64 else "float") for name, array in feeds.items()]
    results = [_typed(w, name, "float") for name in outputs]
    text = f"g ({', '.join(inputs)}) => ({', '.join(results)}) {{ {chr(10).join(w.lines)} }}"
    model = models.model(text, w.opset, **w.constants)
    Canonicalize()(model)
    return RandomGraph(model, feeds, tuple(w.moves))


def _move(w: Sketch, moves: Sequence[Move]) -> None:
    move = w.choose(*moves)
    w.moves.append(move.__name__)
    move(w)


def _finish(w: Sketch) -> list[str]:
    """Weights read the last tensors: what leaves the graph is not the channels themselves."""
    last = next(n for n, s in reversed(w.shapes.items()) if len(s) == w.rank)
    found = []
    for name in dict.fromkeys((last, w.newest(w.rank))):
        shape = w.shapes[name]
        if w.rank == 4:
            c = shape[1]
            found.append(w.op(f"Conv ({name}, {w.weight(3, c, 1, 1, fan_in=c)})", shape[0], 3, *shape[2:]))
        else:
            found.append(w.op(f"MatMul ({name}, {w.weight(shape[2], 3, fan_in=shape[2])})", *shape[:2], 3))
    return found


def _typed(w: Sketch, name: str, kind: str) -> str:
    """A graph input or output in ONNX text; the first size of a dynamic graph has a name."""
    sizes = ["N" if i == 0 and w.dynamic else str(size) for i, size in enumerate(w.shapes[name])]
    return f"{kind}[{','.join(sizes)}] {name}"
