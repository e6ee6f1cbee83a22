"""Moves that add arithmetic: convolutions, affines, activations and normalizations in many spellings."""

from __future__ import annotations

import numpy as np

from tests.properties.writer import Shape, Writer


def conv(w: Writer) -> None:
    x = w.image()
    n, c, height, width = w.shapes[x]
    assert isinstance(c, int) and isinstance(height, int) and isinstance(width, int)
    groups = w.choose(1, c, 2 if c % 2 == 0 else 1)
    out = groups * w.choose(1, 2, 3, 16) if groups != c or c == 1 else c
    size, pad, stride = w.choose((1, 0, 1), (3, 1, 1), (3, 1, 2), (2, 0, 1))
    if min(height, width) + 2 * pad < size:
        size, pad = 1, 0
    filters = w.weight(out, c // groups, size, size, scale=1 / np.sqrt(c // groups * size * size))
    inputs = f"{x}, {filters}" + (f", {w.weight(out)}" if w.flag() else "")
    sides = [(side + 2 * pad - size) // stride + 1 for side in (height, width)]
    attributes = f"pads = [{pad}, {pad}, {pad}, {pad}], strides = [{stride}, {stride}], group = {groups}"
    w.op(f"Conv <{attributes}> ({inputs})", (n, out, *sides))


def batch_norm(w: Writer) -> None:
    normalized(w, w.image())


def normalized(w: Writer, x: str) -> str:
    c = w.shapes[x][1]
    assert isinstance(c, int)
    statistics = ", ".join((w.weight(c), w.weight(c), w.weight(c), w.weight(c, low=0.5)))
    return w.op(f"BatchNormalization <epsilon = 0.001> ({x}, {statistics})", w.shapes[x])


def affine(w: Writer) -> None:
    """Arithmetic with a constant of any shape that broadcasts."""
    x = w.image()
    n, c, height, width = w.shapes[x]
    assert isinstance(c, int) and isinstance(height, int) and isinstance(width, int)
    shapes = [(), (c, 1, 1), (1, c, 1, 1), (1,), (1, 1, 1, 1), (width,), (1, height, 1), (c, height, width), (1, 1)]
    op, shape, result = w.choose("Mul", "Add", "Sub", "Div"), w.choose(*shapes), w.shapes[x]
    if w.flag():
        if n == 1 and w.choose(False, False, True):
            shape, result = (2, c, 1, 1), (2, c, height, width)
        constant = w.weight(*shape, low=0.5)
    else:
        constant = w.number(w.choose(2.0, 1.0, 0.5, 6.0))
    divides = op == "Div"
    sides = (x, constant) if divides or w.flag() else (constant, x)
    w.op(f"{op} ({', '.join(sides)})", result)


def simple_activation(w: Writer) -> None:
    x = w.image()
    op = w.choose("Relu", "Sigmoid", "Tanh", "LeakyRelu <alpha = 0.1>", "HardSigmoid", "Softplus", "Erf", "Neg", "Exp")
    if op == "Exp":
        x = w.op(f"Tanh ({x})", w.shapes[x])
    w.op(f"{op} ({x})", w.shapes[x])


def prelu(w: Writer) -> None:
    x = w.image()
    c = w.shapes[x][1]
    assert isinstance(c, int)
    slope = w.choose(lambda: w.weight(c, 1, 1), lambda: w.weight(1), lambda: w.number(0.25, (c, 1, 1)))()
    w.op(f"PRelu ({x}, {slope})", w.shapes[x])


def clip(w: Writer) -> None:
    x = w.image()
    low, high = w.choose((0.0, 6.0), (0.0, 1.0), (-1.0, 1.0), (0.0, None), (None, 3.0))
    ends = [w.number(end) if end is not None else "" for end in (low, high)]
    w.op(f"Clip ({x}, {', '.join(ends)})" if ends[1] else f"Clip ({x}, {ends[0]})", w.shapes[x])


def hard_gate(w: Writer) -> None:
    """Hard sigmoid and hard swish, written out, right or nearly so."""
    x = w.image()
    shape = w.shapes[x]
    shift, high = w.choose((3.0, 6.0), (3.0, 6.0), (2.0, 6.0), (3.0, 5.0))
    moved = w.op(f"Add ({x}, {w.number(shift)})", shape)
    if w.flag():
        gate = w.op(f"Clip ({moved}, {w.number(0.0)}, {w.number(high)})", shape)
    else:
        gate = w.op(f"Min ({w.op(f'Relu ({moved})', shape)}, {w.number(high)})", shape)
    tail = w.choose("gate", "mul-div", "div-mul", "mul-mul")
    if tail == "gate":
        w.op(f"Div ({gate}, {w.number(6.0)})", shape)
    elif tail == "mul-div":
        w.op(f"Div ({w.op(f'Mul ({x}, {gate})', shape)}, {w.number(6.0)})", shape)
    elif tail == "div-mul":
        w.op(f"Mul ({x}, {w.op(f'Div ({gate}, {w.number(6.0)})', shape)})", shape)
    else:
        w.op(f"Mul ({w.op(f'Mul ({gate}, {w.number(1 / 6)})', shape)}, {x})", shape)


def gate(w: Writer) -> None:
    """x times a function of x, or of another tensor of the same shape."""
    x = w.image()
    shape = w.shapes[x]
    if w.choose(False, False, True):
        power = w.op(f"Exp ({w.op(f'Neg ({x})', shape)})", shape)
        w.op(f"Div ({x}, {w.op(f'Add ({power}, {w.number(1.0)})', shape)})", shape)
        return
    inner = w.choose("Sigmoid ({})", "HardSigmoid <alpha = 0.16666667, beta = 0.5> ({})", "Tanh ({})", "Identity ({})")
    sides = [x, w.op(inner.format(x), shape)]
    w.op(f"Mul ({', '.join(reversed(sides) if w.flag() else sides)})", shape)


def gelu(w: Writer) -> None:
    x = w.image()
    shape = w.shapes[x]
    if w.flag():
        inner = w.op(f"Div ({x}, {w.number(float(np.sqrt(2)))})", shape)
        one = w.op(f"Add ({w.op(f'Erf ({inner})', shape)}, {w.number(1.0)})", shape)
    else:
        cubed = w.op(f"Pow ({x}, {w.number(3.0)})", shape)
        total = w.op(f"Add ({x}, {w.op(f'Mul ({cubed}, {w.number(0.044715)})', shape)})", shape)
        inner = w.op(f"Mul ({total}, {w.number(float(np.sqrt(2 / np.pi)))})", shape)
        one = w.op(f"Add ({w.op(f'Tanh ({inner})', shape)}, {w.number(1.0)})", shape)
    if w.flag():
        w.op(f"Mul ({w.op(f'Mul ({x}, {one})', shape)}, {w.number(0.5)})", shape)
    else:
        w.op(f"Mul ({w.op(f'Mul ({x}, {w.number(0.5)})', shape)}, {one})", shape)


def norm(w: Writer) -> None:
    """Layer or root-mean-square normalization over the last axis, written out."""
    x = w.image()
    shape = w.shapes[x]
    last = shape[-1]
    assert isinstance(last, int)
    x0 = x
    if w.flag():
        x0 = w.op(f"Sub ({x}, {mean(w, x, [-1])})", shape)
    square = w.op(f"Pow ({x0}, {w.number(2.0)})" if w.flag() else f"Mul ({x0}, {x0})", shape)
    variance = mean(w, square, [-1])
    moved = w.op(f"Add ({variance}, {w.number(0.01)})", w.shapes[variance])
    root = w.op(f"Sqrt ({moved})", w.shapes[moved])
    scaled = w.op(f"Mul ({w.op(f'Div ({x0}, {root})', shape)}, {w.weight(last)})", shape)
    if w.flag():
        w.op(f"Add ({scaled}, {w.weight(last)})", shape)


def mean(w: Writer, x: str, axes: list[int], keep: bool = True) -> str:
    """ReduceMean; the axes were an attribute before opset 18."""
    at = {axis % len(w.shapes[x]) for axis in axes}
    shape = tuple(1 if i in at else size for i, size in enumerate(w.shapes[x]) if keep or i not in at)
    if w.opset < 18:
        return w.op(f"ReduceMean <axes = {axes}, keepdims = {int(keep)}> ({x})", shape)
    return w.op(f"ReduceMean <keepdims = {int(keep)}> ({x}, {w.integers(*axes)})", shape)


def softmax(w: Writer) -> None:
    x = w.image()
    shape = w.shapes[x]
    if w.flag() and w.opset >= 13:
        w.op(f"Softmax <axis = {w.choose(-1, 1)}> ({x})", shape)
        return
    row = (*shape[:3], 1)
    top = w.op(f"ReduceMax <axes = [3]> ({x})" if w.opset < 18 else f"ReduceMax ({x}, {w.integers(3)})", row)
    power = w.op(f"Exp ({w.op(f'Sub ({x}, {top})', shape)})", shape)
    total = w.op(f"ReduceSum <axes = [3]> ({power})" if w.opset < 13 else f"ReduceSum ({power}, {w.integers(3)})", row)
    w.op(f"Div ({power}, {total})", shape)


def branches(w: Writer) -> None:
    """Convolutions, and perhaps a normalization, of the same tensor, added up."""
    x = w.image()
    n, c, height, width = w.shapes[x]
    assert isinstance(c, int)
    out = c if w.flag() else 3
    parts = [
        w.op(
            f"Conv <pads = [1, 1, 1, 1]> ({x}, {w.weight(out, c, 3, 3, scale=0.3)}, {w.weight(out)})",
            (n, out, height, width),
        )
    ]
    parts.append(w.op(f"Conv ({x}, {w.weight(out, c, 1, 1)})", (n, out, height, width)))
    if out == c:
        parts.append(w.choose(x, normalized(w, x)))
    total = parts[0]
    for part in parts[1:]:
        total = w.op(f"Add ({total}, {part})", (n, out, height, width))


def squeeze_and_excite(w: Writer) -> None:
    """A gate of one number a channel; the tensor itself may be added."""
    x = w.image()
    n, c, *_ = shape = w.shapes[x]
    assert isinstance(c, int)
    small: Shape = (n, c, 1, 1)
    pooled = w.op(f"GlobalAveragePool ({x})", small) if w.flag() else mean(w, x, [2, 3])
    scores = w.op(f"Conv ({pooled}, {w.weight(c, c, 1, 1)}, {w.weight(c)})", small)
    scale = w.op(f"{w.choose('Sigmoid', 'HardSigmoid')} ({scores})", small)
    gated = w.op(f"Mul ({x}, {scale})", shape)
    if w.flag():
        w.op(f"Add ({x}, {gated})", shape)
