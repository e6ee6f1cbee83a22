"""A graph under construction, as ONNX text with random constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

Size = int | str
Shape = tuple[Size, ...]
DTYPES = {"float": np.float32, "double": np.float64, "float16": np.float16}


@dataclass
class Writer:
    """A graph under construction.

    Args:
        draw: Of hypothesis.
        kind: Element type in ONNX text.
        opset: Of the standard operators.
        shapes: Tensor -> shape, in the order of their making.
        constants: Initializer -> elements.
        lines: Nodes.
    """

    draw: Callable[..., Any]
    kind: str
    opset: int
    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def dtype(self) -> Any:
        return DTYPES[self.kind]

    def copy(self) -> Writer:
        """To come back to, when what is added from here on turns out to be of no use."""
        return replace(self, shapes=dict(self.shapes), constants=dict(self.constants), lines=list(self.lines))

    def choose(self, *options: Any) -> Any:
        """One of ``options``; the first is the simplest."""
        return self.draw(st.sampled_from(options))

    def flag(self) -> bool:
        return bool(self.draw(st.booleans()))

    def image(self) -> str:
        """A tensor of four dimensions, the newest by preference."""
        found = [name for name, shape in self.shapes.items() if len(shape) == 4]
        newest = found[-1]
        return str(self.choose(newest, newest, newest, *reversed(found[-4:])))

    def fresh(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def op(self, text: str, shape: Shape) -> str:
        """Add ``name = text`` and return the name."""
        name = self.fresh()
        self.lines.append(f"{name} = {text}")
        self.shapes[name] = shape
        return name

    def hidden(self, text: str) -> str:
        """Add ``name = text`` for a value of another type than the graph's, which no other move may read."""
        name = self.fresh("h")
        self.lines.append(f"{name} = {text}")
        return name

    def weight(self, *shape: int, low: float | None = None, scale: float = 1.0) -> str:
        """Random numbers, or an initializer of that shape that is there already.

        Args:
            low: Numbers between this and 2 rather than normal ones.
            scale: Of normal numbers.
        """
        prefix = "p" if low is not None else "w"
        same = [n for n, a in self.constants.items() if n.startswith(prefix) and a.shape == shape]
        if same and self.choose(False, False, True):
            return same[0]
        random = np.random.default_rng(len(self.constants) + 100 * sum(shape))
        array = random.uniform(low, 2, shape) if low is not None else scale * random.standard_normal(shape)
        return self.constant(np.asarray(array).astype(self.dtype), prefix)

    def number(self, value: float, shape: tuple[int, ...] = ()) -> str:
        """A constant that holds ``value`` everywhere: an initializer, or a Constant node."""
        array = np.full(shape, value, self.dtype)
        if shape == () and self.kind == "float" and self.flag():
            return self.hidden(f"Constant <value = float {{{value!r}}}> ()")
        return self.constant(array, "c")

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64), "i")

    def constant(self, array: np.ndarray[Any, Any], prefix: str) -> str:
        name = self.fresh(prefix)
        self.constants[name] = array
        return name
