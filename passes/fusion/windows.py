"""Where convolutions and pools read: kernel, strides, dilations and padding per spatial axis, whatever the spelling.

Output ``o`` reads, at tap ``t``, the input at ``o stride - begin + t dilation``; what lies outside is padding. An axis
of size ``n`` gives ``floor((n + balance - 1) / stride) + 1`` outputs with ``balance = begin + end - dilation (kernel - 1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import onnx_ir as ir


@dataclass(frozen=True)
class Window:
    """Where a convolution or a pool reads; one entry for each spatial axis.

    Args:
        kernel: Taps.
        strides: Between windows.
        dilations: Between taps.
        begins: Padding before the input.
        ends: Padding behind the input.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Spatial axes."""
        return len(self.kernel)

    @property
    def taps(self) -> int:
        """Taps over all axes."""
        return prod(self.kernel)

    @property
    def spans(self) -> tuple[int, ...]:
        """Distance from the first tap to the last."""
        return tuple(d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True))

    @property
    def balance(self) -> tuple[int, ...]:
        """What padding adds to an axis less what the kernel takes away: it decides the number of outputs."""
        return tuple(b + e - s for b, e, s in zip(self.begins, self.ends, self.spans, strict=True))

    @property
    def pads(self) -> list[int]:
        """As the attribute ``pads`` has them."""
        return [*self.begins, *self.ends]

    def attributes(self) -> dict[str, Any]:
        """Attributes of a Conv that reads so."""
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "dilations": list(self.dilations),
            "pads": self.pads,
        }


def read_window(node: ir.Node, kernel: Sequence[int]) -> Window | str:
    """Where ``node``, a Conv or a pool with ``kernel``, reads, or why that is not known.

    ``auto_pad`` is made explicit where it does not depend on the size of the input: with stride 1.
    """
    rank, attributes = len(kernel), node.attributes
    strides = attributes.get_ints("strides") or (1,) * rank
    dilations = attributes.get_ints("dilations") or (1,) * rank
    auto_pad = attributes.get_string("auto_pad") or "NOTSET"
    pads = (attributes.get_ints("pads") if auto_pad == "NOTSET" else None) or (0,) * (2 * rank)
    if not len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        return "strides, dilations or pads have another number of axes than the kernel"
    window = Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(pads[:rank]), tuple(pads[rank:]))
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        if set(strides) != {1}:
            return "auto_pad depends on the size of the input"
        less = tuple(span // 2 for span in window.spans)
        more = tuple(span - half for span, half in zip(window.spans, less, strict=True))
        begins, ends = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
        return Window(window.kernel, window.strides, window.dilations, begins, ends)
    return window if min(pads, default=0) >= 0 else "a pad is negative"
