"""Moves over the channels of images and the features of sequences, for random graphs."""

from __future__ import annotations

from tests.passes.pruning.random_graphs import Sketch


def _channels(w: Sketch) -> tuple[str, int, tuple[int, ...]]:
    """A tensor of the kind that grows now, the axis of its channels, its shape."""
    x = w.newest(w.rank)
    return x, 1 if w.rank == 4 else 2, w.shapes[x]


def _with(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _per_channel(w: Sketch, count: int) -> tuple[int, ...]:
    """A shape that is broadcast along all axes but the channels."""
    return (count, 1, 1) if w.rank == 4 else (count,)


def project(w: Sketch, x: str, out: int) -> str:
    """A product over the channels: Conv or MatMul, perhaps with a bias."""
    shape = w.shapes[x]
    if len(shape) == 4:
        bias = f", {w.weight(out)}" if w.flag() else ""
        weight = w.weight(out, shape[1], 1, 1, fan_in=shape[1])
        return w.op(f"Conv ({x}, {weight}{bias})", *_with(shape, 1, out))
    y = w.op(f"MatMul ({x}, {w.weight(shape[2], out, fan_in=shape[2])})", *_with(shape, 2, out))
    return w.op(f"Add ({y}, {w.weight(out)})", *w.shapes[y]) if w.flag() else y


def projection(w: Sketch) -> None:
    project(w, _channels(w)[0], w.choose(2, 4, 6, 8))


def activation(w: Sketch) -> None:
    x, axis, shape = _channels(w)
    kind = w.choose(
        "Relu", "Sigmoid", "LeakyRelu", "HardSigmoid", "Softplus", "Neg", "Elu", "Cos", "Clip", "PRelu", "Exp", "Max"
    )
    if kind == "Clip":
        low, high = w.choose((0.0, 6.0), (0.25, 1.0), (-1.0, 1.0))
        w.op(f"Clip ({x}, {w.number(low)}, {w.number(high)})", *shape)
    elif kind == "PRelu":
        w.op(f"PRelu ({x}, {w.weight(*_per_channel(w, shape[axis]))})", *shape)
    elif kind == "Exp":
        w.op(f"Exp ({w.op(f'Tanh ({x})', *shape)})", *shape)
    elif kind == "Max":
        w.op(f"Max ({x}, {w.weight(*_per_channel(w, shape[axis]))})", *shape)
    else:
        w.op(f"{kind} ({x})", *shape)


def affine(w: Sketch) -> None:
    """Arithmetic with a constant of a shape that is broadcast."""
    x, axis, shape = _channels(w)
    one = _per_channel(w, shape[axis])
    op = w.choose("Mul", "Add", "Sub", "Div")
    sides = [x, w.positive(*w.choose(one, (1, *one), (), (1,), (1, *shape[1:]), (shape[-2], 1), shape[-1:]))]
    w.op(f"{op} ({', '.join(sides if op == 'Div' or w.flag() else sides[::-1])})", *shape)


def residual(w: Sketch) -> None:
    x, axis, shape = _channels(w)
    y = project(w, x, shape[axis])
    if w.flag():
        y = project(w, w.op(f"Relu ({y})", *w.shapes[y]), shape[axis])
    w.op(f"{w.choose('Add', 'Add', 'Sub', 'Mul', 'Max')} ({w.choose(f'{x}, {y}', f'{y}, {x}')})", *shape)


def concat(w: Sketch) -> None:
    """Tensors that differ in their channels only, one of them perhaps constant or twice the same."""
    x, axis, shape = _channels(w)
    parts = [x, project(w, x, w.choose(2, 3, 4))]
    parts.append(
        w.choose(*[t for t, s in w.shapes.items() if len(s) == w.rank and _with(s, axis, 0) == _with(shape, axis, 0)])
    )
    if w.flag() and not w.dynamic:
        parts.append(w.weight(*_with(shape, axis, 2)))
    w.random.shuffle(parts)
    sizes = [(w.shapes[t] if t in w.shapes else w.constants[t].shape)[axis] for t in parts]
    w.op(f"Concat <axis = {w.choose(axis, axis - w.rank)}> ({', '.join(parts)})", *_with(shape, axis, sum(sizes)))


def split(w: Sketch) -> None:
    """Parts are changed and joined again in some order, or multiplied with each other."""
    x, axis, shape = _channels(w)
    count = shape[axis]
    if count < 2:
        return
    if count % 2 == 0 and w.flag():
        number = ", num_outputs = 2" if w.opset >= 18 else ""
        a, b = w.ops(f"Split <axis = {axis}{number}> ({x})", *[_with(shape, axis, count // 2)] * 2)
    else:
        cut = int(w.random.integers(1, count))
        sizes = (cut, count - cut)
        a, b = w.ops(f"Split <axis = {axis}> ({x}, {w.integers(*sizes)})", *(_with(shape, axis, s) for s in sizes))
    if w.shapes[a] == w.shapes[b] and w.flag():
        w.op(f"Mul ({a}, {w.op(f'Sigmoid ({b})', *w.shapes[b])})", *w.shapes[a])
        return
    changed = project(w, a, w.choose(2, w.shapes[a][axis]))
    out = w.shapes[changed][axis] + w.shapes[b][axis]
    w.op(f"Concat <axis = {axis}> ({w.choose(f'{changed}, {b}', f'{b}, {changed}')})", *_with(shape, axis, out))


def slice_(w: Sketch) -> None:
    """Channels in steps, forwards or backwards, perhaps with a part of another axis."""
    x, axis, shape = _channels(w)
    c, other = shape[axis], w.rank - 2 if w.rank == 4 else 1
    start, end, step = w.choose(
        (0, c, 2), (1, c, 2), (c, 0, -2), (1, c, 1), (c - 1, -c - 1, -1), (0, -1, 1), (-3, 1 << 40, 2)
    )
    left = len(range(c)[slice(start, None if end < -c else end, step)])
    if left < 1:
        return
    starts, ends, axes, steps = [start], [end], [w.choose(axis, axis - w.rank)], [step]
    shape = _with(shape, axis, left)
    if shape[other] > 2 and w.flag():
        for values, value in ((starts, 0), (ends, shape[other] - 1), (axes, other), (steps, 1)):
            values.append(value)
        shape = _with(shape, other, shape[other] - 1)
    w.op(f"Slice ({x}, {', '.join(w.integers(*values) for values in (starts, ends, axes, steps))})", *shape)


def gather(w: Sketch) -> None:
    """Channels in another order, or some of them, perhaps twice."""
    x, axis, shape = _channels(w)
    c = shape[axis]
    order = w.random.permutation(c) if w.flag() else w.random.integers(-c, c, int(w.random.integers(1, c + 3)))
    w.op(f"Gather <axis = {axis}> ({x}, {w.integers(*order.tolist())})", *_with(shape, axis, len(order)))


def pad(w: Sketch) -> None:
    x, axis, shape = _channels(w)
    c, other = shape[axis], 2 if w.rank == 4 else 1
    mode = w.choose("constant", "constant", "edge", "reflect")
    if shape[other] < 2:
        return
    before, after = (int(p) for p in w.random.integers(0, 3, 2)) if mode == "constant" else (0, 0)
    value = f", {w.number(w.choose(0.0, 1.0))}" if mode == "constant" else ""
    amounts = [0] * 2 * w.rank
    amounts[axis], amounts[w.rank + axis], amounts[other] = before, after, 1
    grown = _with(_with(shape, axis, c + before + after), other, shape[other] + 1)
    w.op(f'Pad <mode = "{mode}"> ({x}, {w.integers(*amounts)}{value})', *grown)


def tile(w: Sketch) -> None:
    x, axis, shape = _channels(w)
    if shape[axis] < 7:
        repeats = _with((1,) * w.rank, axis, 2)
        w.op(f"Tile ({x}, {w.integers(*repeats)})", *_with(shape, axis, 2 * shape[axis]))


def softmax(w: Sketch) -> None:
    """Over the channels, or along another axis."""
    x, axis, shape = _channels(w)
    along = w.choose(axis, w.rank - 1, 1)
    if shape[along] > 1:
        w.op(f"Softmax <axis = {along}> ({x})", *shape)


CHANNEL_MOVES = (
    *(projection, activation, affine, residual, concat, split, slice_, gather, pad, tile, softmax, activation, split),
)
