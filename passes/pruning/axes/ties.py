"""What the rules of the operators say: which slices go together, which cannot go, what weights do to them.

Every position along every axis is a vertex; a rule draws edges between positions that only go together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tamis.passes.pruning.axes.axis import Axis, Indices, Role, Tensor, operand, shape_of

UNKNOWN_SIZE = "an axis of unknown size"


class Ties:
    """Edges, and what is frozen, as the rules add it, node by node in the order of the graph.

    Args:
        view: Which of several axes a Reshape carries on where it has the choice: 0 the outermost, so that heads and whole
            groups go together; 1 the next, and so on.

    Attributes:
        frozen: (Axis, positions or None for all of them, reason).
        roles: Axis of a constant -> what its node does with it.
        shifted: Axes of values that may be other than zero where all that was computed into them is zero.
        contracted: Axes of two values that are multiplied and summed over.
        live: Axes that weights produce, and all that is tied to them.
    """

    def __init__(self, view: int = 0) -> None:
        self.view = view
        self.frozen: list[tuple[Axis, Indices | None, str]] = []
        self.roles: dict[Axis, Role] = {}
        self.shifted: set[Axis] = set()
        self.contracted: list[tuple[Axis, Axis]] = []
        self.live: set[Axis] = set()
        self.edges: list[tuple[Indices, Indices]] = []
        self.first: dict[Axis, int] = {}
        """Axis -> number of its first vertex."""
        self.sizes: dict[Axis, int] = {}
        self.vertices = 0
        self._shapes: dict[Tensor, tuple[int | None, ...] | None] = {}

    def shape(self, tensor: Tensor) -> tuple[int | None, ...] | None:
        """Sizes of a tensor, None for unknown ones; None if its rank is unknown."""
        if tensor not in self._shapes:
            self._shapes[tensor] = shape_of(tensor)
        return self._shapes[tensor]

    def rank(self, tensor: Tensor) -> int | None:
        """Number of axes; None if unknown."""
        shape = self.shape(tensor)
        return None if shape is None else len(shape)

    def size(self, axis: Axis) -> int | None:
        """Length of an axis; None if unknown."""
        shape = self.shape(axis.tensor)
        return None if shape is None else shape[axis.index]

    def tie(self, a: Axis, b: Axis, of_a: Indices | None = None, of_b: Indices | None = None) -> None:
        """Position ``of_a[i]`` of ``a`` and ``of_b[i]`` of ``b`` go together, for all i; None means all, in order.

        An axis of unknown size freezes the other one, and so do sizes that do not fit.
        """
        size_a, size_b = self.size(a), self.size(b)
        if size_a is None or size_b is None:
            for axis, size in ((a, size_a), (b, size_b)):
                if size is not None:
                    self.freeze(axis, UNKNOWN_SIZE)
            return
        left = np.arange(size_a) if of_a is None else of_a
        right = np.arange(size_b) if of_b is None else of_b
        if len(left) != len(right):
            self.freeze(a, "shapes that do not fit")
            self.freeze(b, "shapes that do not fit")
            return
        self.edges.append((self._start(a, size_a) + left, self._start(b, size_b) + right))
        if a in self.live or b in self.live:
            self.live.update((a, b))

    def freeze(self, axis: Axis, reason: str, positions: Indices | None = None) -> None:
        """Nothing of ``axis``, or none of ``positions`` of it, may go."""
        size = self.size(axis)
        if size is not None:
            self._start(axis, size)
            self.frozen.append((axis, positions, reason))

    def freeze_tensor(self, tensor: Tensor, reason: str, axes: Sequence[int] | None = None) -> None:
        """As ``freeze``, for all axes of a tensor or those in ``axes``."""
        for index in range(self.rank(tensor) or 0) if axes is None else axes:
            self.freeze(Axis(tensor, index), reason)

    def freeze_node(self, node: ir.Node, reason: str) -> None:
        """As ``freeze``, for all axes of all that ``node`` reads or gives."""
        for tensor in (*(operand(node, i) for i in range(len(node.inputs))), *node.outputs):
            if tensor is not None:
                self.freeze_tensor(tensor, reason)

    def role(self, axis: Axis, role: Role) -> None:
        """What a node does with an axis of a constant. An axis with a role and no tie goes with nothing."""
        size = self.size(axis)
        assert size is not None
        self._start(axis, size)
        self.roles[axis] = role

    def start(self, axis: Axis) -> None:
        """``axis`` of a value is made by weights: from here on it is live."""
        self.live.add(axis)

    def contract(self, a: Axis, b: Axis) -> None:
        """Two axes of values that are multiplied and summed over, e.g. of queries and keys."""
        self.tie(a, b)
        self.contracted.append((a, b))

    def shift(self, tensor: Tensor) -> None:
        """What is computed into ``tensor`` is not zero where its input is: Sigmoid, Exp, ..."""
        self.shifted.update(Axis(tensor, i) for i in range(self.rank(tensor) or 0))

    def carried(self, axes: Sequence[Axis]) -> Axis | None:
        """Which one of several axes that a Reshape merges is followed: the live one, of several by the view, or None."""
        live = [axis for axis in axes if axis in self.live]
        return self.chosen(live) if live else None

    def chosen(self, axes: Sequence[Axis]) -> Axis:
        """Which one of several axes that an axis is split into is followed, by the view."""
        return axes[min(self.view, len(axes) - 1)]

    def _start(self, axis: Axis, size: int) -> int:
        found = self.first.get(axis)
        if found is None:
            found = self.first[axis] = self.vertices
            self.sizes[axis] = size
            self.vertices += size
        return found
