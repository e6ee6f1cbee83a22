"""Moves that add structure: padding, pooling, reshapes, transposes, concatenations, residuals, subgraphs, dead ends."""

from __future__ import annotations

import numpy as np

from tests.properties.arithmetic import mean
from tests.properties.writer import Shape, Size, Writer


def _sizes(w: Writer, x: str) -> tuple[Size, int, int, int]:
    """Of an image; only N may be dynamic."""
    n, c, height, width = w.shapes[x]
    assert isinstance(c, int) and isinstance(height, int) and isinstance(width, int)
    return n, c, height, width


def pad(w: Writer) -> None:
    x = w.image()
    n, c, height, width = _sizes(w, x)
    mode = w.choose("constant", "constant", "edge", "reflect")
    top, left, bottom, right = w.choose((1, 1, 1, 1), (0, 0, 1, 1), (0, 1, 0, 0), (0, 0, 0, 0))
    if mode == "reflect" and min(height, width) < 2:
        mode = "edge"
    value = f", {w.number(w.choose(0.0, 1.0))}" if mode == "constant" and w.flag() else ""
    amounts = w.integers(0, 0, top, left, 0, 0, bottom, right)
    w.op(f'Pad <mode = "{mode}"> ({x}, {amounts}{value})', (n, c, height + top + bottom, width + left + right))


def pool(w: Writer) -> None:
    x = w.image()
    n, c, height, width = _sizes(w, x)
    kind = w.choose("MaxPool", "AveragePool", "GlobalAveragePool", "mean")
    if kind == "GlobalAveragePool":
        w.op(f"GlobalAveragePool ({x})", (n, c, 1, 1))
    elif kind == "mean":
        mean(w, x, w.choose([2, 3], [-2, -1], [3, 2]))
    elif min(height, width) >= 2:
        pads, stride = w.choose(0, 1), w.choose(1, 2)
        sides = [(side + 2 * pads - 2) // stride + 1 for side in (height, width)]
        extra = f", count_include_pad = {int(w.flag())}" if kind == "AveragePool" else ""
        attributes = f"kernel_shape = [2, 2], strides = [{stride}, {stride}], pads = [{pads}, {pads}, {pads}, {pads}]"
        w.op(f"{kind} <{attributes}{extra}> ({x})", (n, c, *sides))


def squeeze_back(w: Writer) -> None:
    """A new axis and away with it, or axes of size 1 away and back."""
    x = w.image()
    shape = w.shapes[x]
    axis = w.choose(0, 2, 4, -1)
    at = axis % 5
    larger = _with_axes("Unsqueeze", w, x, axis, (*shape[:at], 1, *shape[at:]))
    middle = w.op(f"Relu ({larger})", w.shapes[larger]) if w.flag() else larger
    _with_axes("Squeeze", w, middle, axis, shape)


def _with_axes(op: str, w: Writer, x: str, axis: int, shape: Shape) -> str:
    """The axes were an attribute before opset 13."""
    if w.opset < 13:
        rank = max(len(shape), len(w.shapes[x]))
        return w.op(f"{op} <axes = [{axis % rank}]> ({x})", shape)
    return w.op(f"{op} ({x}, {w.integers(axis)})", shape)


def reshape(w: Writer) -> None:
    """To rows and back, by way of an activation or two reshapes in a row."""
    x = w.image()
    n, c, height, width = _sizes(w, x)
    rows = w.op(f"Reshape ({x}, {w.integers(0, c, -1)})", (n, c, height * width))
    if w.flag():
        rows = w.op(f"Tanh ({rows})", w.shapes[rows])
    if w.flag():
        flat = w.op(f"Flatten <axis = 1> ({rows})", (n, c * height * width))
        rows = w.op(f"Relu ({flat})", w.shapes[flat]) if w.flag() else flat
    w.op(
        f"Reshape ({rows}, {w.integers(*w.choose((0, c, height, width), (-1, c, height, width)))})",
        (n, c, height, width),
    )


def computed_reshape(w: Writer) -> None:
    """The shape comes from Shape, Gather and Concat."""
    x = w.image()
    n, c, height, width = _sizes(w, x)
    first = w.hidden(f"Gather <axis = 0> ({w.hidden(f'Shape ({x})')}, {w.integers(0)})")
    whole = w.hidden(f"Concat <axis = 0> ({first}, {w.integers(c, height * width, 1)})")
    w.op(f"Reshape ({x}, {whole})", (n, c, height * width, 1))


def transpose(w: Writer) -> None:
    """To channels last, something there, and (mostly) back."""
    x = w.image()
    n, c, height, width = _sizes(w, x)
    last = w.op(f"Transpose <perm = [0, 2, 3, 1]> ({x})", (n, height, width, c))
    inner = w.choose("none", "Relu", "affine", "softmax", "branch")
    if inner == "Relu":
        last = w.op(f"Relu ({last})", w.shapes[last])
    elif inner == "affine":
        last = w.op(f"Mul ({last}, {w.weight(c)})", w.shapes[last])
    elif inner == "softmax" and w.opset >= 13:
        last = w.op(f"Softmax <axis = {w.choose(-1, 1)}> ({last})", w.shapes[last])
    elif inner == "branch":
        last = w.op(f"Add ({last}, {w.op(f'Sigmoid ({last})', w.shapes[last])})", w.shapes[last])
    if w.choose(True, True, False):
        w.op(f"Transpose <perm = [0, 3, 1, 2]> ({last})", (n, c, height, width))
    else:
        w.op(f"Transpose <perm = [0, 2, 1, 3]> ({last})", (n, width, height, c))


def concat(w: Writer) -> None:
    x = w.image()
    _, c, _, width = _sizes(w, x)
    if c * width > 64:
        return
    axis = w.choose(1, 3, -3)
    others = [t for t, s in w.shapes.items() if len(s) == 4 and _joins(s, w.shapes[x], axis % 4)]
    found = [x, *(w.choose(*reversed(others[-4:])) for _ in range(w.choose(1, 2, 0)))]
    sizes = [w.shapes[t][axis % 4] for t in found]
    shape = list(w.shapes[x])
    shape[axis % 4] = sum(size for size in sizes if isinstance(size, int))
    w.op(f"Concat <axis = {axis}> ({', '.join(found)})", tuple(shape))


def _joins(a: Shape, b: Shape, axis: int) -> bool:
    return all(i == axis or p == q for i, (p, q) in enumerate(zip(a, b, strict=True)))


def cut(w: Writer) -> None:
    """Slice or Split; the parts may be put together again."""
    x = w.image()
    axis = w.choose(1, 2, 3, -1)
    shape = list(w.shapes[x])
    size = shape[axis % 4]
    assert isinstance(size, int)
    if size < 2:
        return
    if w.flag():
        start, end, step = w.choose((1, 1000, 1), (0, 1, 1), (0, -1, 1), (-1, -1000, -1), (0, 1000, 1), (0, 1000, 2))
        shape[axis % 4] = len(range(size)[slice(start, None if end == -1000 else end, step)])
        ends = ", ".join(w.integers(number) for number in (start, end, axis, step))
        w.op(f"Slice ({x}, {ends})", tuple(shape))
        return
    parts = [1, size - 1]
    names = [w.fresh(), w.fresh()]
    given = (
        f"<axis = {axis}> ({x}, {w.integers(*parts)})" if w.opset >= 13 else f"<axis = {axis}, split = {parts}> ({x})"
    )
    w.lines.append(f"{names[0]}, {names[1]} = Split {given}")
    for name, part in zip(names, parts, strict=True):
        shape[axis % 4] = part
        w.shapes[name] = tuple(shape)
    if w.flag():
        order = names if w.flag() else names[::-1]
        w.op(f"Concat <axis = {axis}> ({', '.join(order)})", w.shapes[x])


def residual(w: Writer) -> None:
    x = w.image()
    same = [t for t, s in w.shapes.items() if s == w.shapes[x]]
    w.op(f"{w.choose('Add', 'Sub', 'Mul', 'Max')} ({x}, {w.choose(*reversed(same))})", w.shapes[x])


def product(w: Writer) -> None:
    """MatMul with a bias over the last axis, or Gemm over rows."""
    x = w.image()
    n, c, height, width = _sizes(w, x)
    out = w.choose(3, 4)
    if w.flag():
        y = w.op(f"MatMul ({x}, {w.weight(width, out, scale=width**-0.5)})", (n, c, height, out))
        w.op(f"Add ({y}, {w.weight(out)})", w.shapes[y])
        return
    size = c * height * width
    rows = w.op(f"Flatten ({x})", (n, size))
    y = w.op(f"Gemm <transB = 1> ({rows}, {w.weight(out, size, scale=size**-0.5)}, {w.weight(out)})", (n, out))
    w.op(f"Reshape ({y}, {w.integers(-1, out, 1, 1)})", (n, out, 1, 1))


def no_op(w: Writer) -> None:
    x = w.image()
    number = {"float": 1, "double": 11, "float16": 10}[w.kind]
    text = w.choose(
        "Identity ({})", f"Cast <to = {number}> ({{}})", "Dropout ({})", "Transpose <perm = [0, 1, 2, 3]> ({})"
    )
    w.op(text.format(x), w.shapes[x])


def cast_there_and_back(w: Writer) -> None:
    x = w.image()
    number = {"float": 1, "double": 11, "float16": 10}[w.kind]
    wide = w.hidden(f"Cast <to = {w.choose(11, 1, 10, 6)}> ({x})")
    w.op(f"Cast <to = {number}> ({wide})", w.shapes[x])


def resize(w: Writer) -> None:
    x = w.image()
    n, c, height, width = _sizes(w, x)
    if height * width > 30:
        return
    mode, place, more = w.choose(
        ("nearest", "asymmetric", ', nearest_mode = "floor"'),
        ("nearest", "half_pixel", ', nearest_mode = "round_prefer_floor"'),
        ("linear", "half_pixel", ""),
        ("nearest", "align_corners", ', nearest_mode = "round_prefer_ceil"'),
    )
    scales = w.constant(np.array([1, 1, 2, w.choose(2, 1)], np.float32), "s")
    roi = w.constant(np.array([], np.float32), "r") if w.opset < 13 else ""
    factor = int(w.constants[scales][3])
    attributes = f'mode = "{mode}", coordinate_transformation_mode = "{place}"{more}'
    w.op(f"Resize <{attributes}> ({x}, {roi}, {scales})", (n, c, 2 * height, factor * width))


def again(w: Writer) -> None:
    """A node that is there already."""
    nodes = [line for line in w.lines if " = " in line and "," not in line.split(" = ")[0] and "If" not in line]
    if nodes:
        name, text = w.choose(*nodes[-3:]).split(" = ", 1)
        if name in w.shapes:
            w.op(text, w.shapes[name])


def branch(w: Writer) -> None:
    """An If whose branches read tensors and constants from outside.

    No results of Cast: ONNX Runtime removes casts in a row, also with its optimizations off, and forgets the readers inside.
    """
    x = w.image()
    if any(line.startswith(f"{x} = Cast") for line in w.lines):
        return
    shape = w.shapes[x]
    condition = w.constant(np.array(w.flag()), "b")
    if w.flag():
        total = w.op(f"ReduceMax <keepdims = 0> ({x})", ())
        zero = w.constant(np.zeros((), w.dtype), "c")
        condition = w.hidden(f"Greater ({total}, {zero})")
    size = ", ".join(str(part) for part in shape)
    weight, inner = w.weight(*(part for part in shape[1:2] if isinstance(part, int)), 1, 1), w.fresh("inner")
    then, other = w.fresh("then"), w.fresh("other")
    body = w.choose(f"Mul ({inner}, {x})", f"Identity ({inner})", f"Add ({inner}, {weight})")
    w.op(
        f"If ({condition}) <then_branch = g1 () => ({w.kind}[{size}] {then}) "
        f"{{ {inner} = Sigmoid ({x}) {then} = {body} }}, else_branch = g2 () => ({w.kind}[{size}] {other}) "
        f"{{ {other} = Mul ({x}, {weight}) }}>",
        shape,
    )


def shuffle(w: Writer) -> None:
    """Channels in another order, by way of five dimensions."""
    x = w.image()
    n, c, height, width = _sizes(w, x)
    groups = w.choose(2, c)
    if c % groups:
        return
    five = w.op(
        f"Reshape ({x}, {w.integers(0, groups, c // groups, height, width)})", (n, groups, c // groups, height, width)
    )
    turned = w.op(f"Transpose <perm = [0, 2, 1, 3, 4]> ({five})", (n, c // groups, groups, height, width))
    w.op(f"Reshape ({turned}, {w.integers(0, c, height, width)})", (n, c, height, width))


def attention(w: Writer) -> None:
    """Heads over the rows of the image: projections, scores, probabilities, and heads joined again."""
    x = w.image()
    n, c, height, width = _sizes(w, x)
    heads, size = w.choose(2, 1), 2
    inner, rows = heads * size, c * height
    tokens = w.op(f"Reshape ({x}, {w.integers(0, rows, width)})", (n, rows, width))
    cut = w.integers(0, 0, heads, size)
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        flat = w.op(f"MatMul ({tokens}, {w.weight(width, inner, scale=width**-0.5)})", (n, rows, inner))
        flat = w.op(f"Add ({flat}, {w.weight(inner)})", (n, rows, inner))
        part = w.op(f"Reshape ({flat}, {cut})", (n, rows, heads, size))
        shape = (n, heads, rows, size) if perm[-1] == 3 else (n, heads, size, rows)
        parts.append(w.op(f"Transpose <perm = {perm}> ({part})", shape))
    scores = w.op(f"MatMul ({parts[0]}, {parts[1]})", (n, heads, rows, rows))
    scaled = w.op(f"Div ({scores}, {w.number(2**0.5)})", w.shapes[scores])
    masked = w.op(f"Add ({scaled}, {w.weight(1, 1, 1, rows)})", w.shapes[scores]) if w.flag() else scaled
    chances = w.op(f"Softmax <axis = 3> ({masked})", w.shapes[scores])
    mixed = w.op(f"MatMul ({chances}, {parts[2]})", (n, heads, rows, size))
    joined = w.op(f"Transpose <perm = [0, 2, 1, 3]> ({mixed})", (n, rows, heads, size))
    joined = w.op(f"Reshape ({joined}, {w.integers(0, 0, inner)})", (n, rows, inner))
    mixed = w.op(f"MatMul ({joined}, {w.weight(inner, width, scale=inner**-0.5)})", (n, rows, width))
    total = w.op(f"Add ({w.op(f'Add ({w.weight(width)}, {mixed})', (n, rows, width))}, {tokens})", (n, rows, width))
    w.op(f"Reshape ({total}, {w.integers(-1, c, height, width)})", w.shapes[x])
