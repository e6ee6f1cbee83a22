"""Moves over images, (batch, channels, height, width), for random graphs."""

from __future__ import annotations

import numpy as np

from tests.models import Array
from tests.passes.pruning.random_graphs import BATCH, Sketch


def start_image(w: Sketch) -> dict[str, Array]:
    """A Conv of the input."""
    w.shapes["x"] = (BATCH, 3, 6, 6)
    c = w.choose(4, 6, 8)
    w.op(f"Conv <pads = [1, 1, 1, 1]> (x, {w.weight(c, 3, 3, 3, fan_in=27)}, {w.weight(c)})", BATCH, c, 6, 6)
    return {"x": w.random.standard_normal((BATCH, 3, 6, 6)).astype(np.float32)}


def convolve(w: Sketch, x: str, out: int, size: int = 1, groups: int = 1) -> str:
    """A Conv that keeps height and width; ``size`` is odd."""
    n, c, *sides = w.shapes[x]
    bias = f", {w.weight(out)}" if w.flag() else ""
    weight = w.weight(out, c // groups, size, size, fan_in=c // groups * size * size)
    pads = ", ".join([str(size // 2)] * 4)
    return w.op(f"Conv <pads = [{pads}], group = {groups}> ({x}, {weight}{bias})", n, out, *sides)


def conv(w: Sketch) -> None:
    convolve(w, w.newest(4), w.choose(2, 4, 6, 8), 3)


def conv_again(w: Sketch) -> None:
    """Two readers of one weight."""
    x = w.newest(4)
    n, c, *sides = w.shapes[x]
    weight = w.weight(c, c, 1, 1, fan_in=c)
    y = w.op(f"Relu ({w.op(f'Conv ({x}, {weight})', n, c, *sides)})", n, c, *sides)
    w.op(f"Conv ({y}, {weight})", n, c, *sides)


def depthwise(w: Sketch) -> None:
    x = w.newest(4)
    c = w.shapes[x][1]
    convolve(w, x, c * w.choose(1, 1, 2), 3, c)


def grouped(w: Sketch) -> None:
    x = w.newest(4)
    c = w.shapes[x][1]
    groups = w.choose(*[g for g in (2, 3, 4) if c % g == 0] or [1])
    convolve(w, x, groups * w.choose(1, 2, 3), w.choose(1, 3), groups)


def transposed_conv(w: Sketch) -> None:
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    if height * width > 80:
        return
    groups = w.choose(1, *[g for g in (2, c) if c % g == 0])
    each = w.choose(1, 2, 3)
    bias = f", {w.weight(groups * each)}" if w.flag() else ""
    weight = w.weight(c, each, 2, 2, fan_in=c // groups)
    attributes = f"strides = [2, 2], group = {groups}"
    w.op(f"ConvTranspose <{attributes}> ({x}, {weight}{bias})", n, groups * each, 2 * height, 2 * width)


def batch_norm(w: Sketch) -> None:
    x = w.newest(4)
    c = w.shapes[x][1]
    parameters = ", ".join((w.weight(c), w.weight(c), w.weight(c), w.positive(c)))
    w.op(f"BatchNormalization ({x}, {parameters})", *w.shapes[x])


def other_norm(w: Sketch) -> None:
    x = w.newest(4)
    c = w.shapes[x][1]
    if w.flag():
        w.op(f"InstanceNormalization ({x}, {w.weight(c)}, {w.weight(c)})", *w.shapes[x])
    else:
        w.op(f"LRN <size = 3> ({x})", *w.shapes[x])


def resize(w: Sketch) -> None:
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    if height * width > 80:
        return
    mode = w.choose('mode = "nearest", coordinate_transformation_mode = "asymmetric"', 'mode = "linear"')
    if w.flag() or w.dynamic:
        given = f"{w.constant(np.array([1, 1, 2, 2], np.float32), 's')}"
    else:
        given = f", {w.integers(n, c, 2 * height, 2 * width)}"
    w.op(f"Resize <{mode}> ({x}, , {given})", n, c, 2 * height, 2 * width)


def pool(w: Sketch) -> None:
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    if min(height, width) < 3:
        return
    op = w.choose("MaxPool", "AveragePool", "LpPool")
    w.op(f"{op} <kernel_shape = [3, 3], strides = [2, 2]> ({x})", n, c, (height - 3) // 2 + 1, (width - 3) // 2 + 1)


def squeeze_excite(w: Sketch) -> None:
    """A gate of one number a channel, from the mean over height and width."""
    x = w.newest(4)
    n, c, *_ = shape = w.shapes[x]
    pooled = w.op(f"GlobalAveragePool ({x})", n, c, 1, 1)
    if w.flag():
        small = convolve(w, pooled, 3)
        scores = convolve(w, w.op(f"Relu ({small})", n, 3, 1, 1), c)
    else:
        flat = w.op(f"Flatten ({pooled})", n, c)
        hidden = w.op(f"Relu ({w.op(f'MatMul ({flat}, {w.weight(c, 3, fan_in=c)})', n, 3)})", n, 3)
        row = w.op(f"Gemm <transB = 1> ({hidden}, {w.weight(c, 3)}, {w.weight(c)})", n, c)
        scores = w.op(f"Unsqueeze ({row}, {w.integers(2, 3)})", n, c, 1, 1)
    gate = w.op(f"{w.choose('Sigmoid', 'HardSigmoid')} ({scores})", n, c, 1, 1)
    if w.flag():
        w.op(f"Mul ({x}, {gate})", *shape)
    else:
        flat = w.op(f"Squeeze ({gate}, {w.integers(2, 3)})", n, c)
        w.op(f'Einsum <equation = "nchw,nc->nchw"> ({x}, {flat})', *shape)


def shuffle(w: Sketch) -> None:
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    groups = w.choose(2, 3)
    if c % groups:
        return
    five = w.reshape(x, n, groups, c // groups, height, width)
    turned = w.op(f"Transpose <perm = [0, 2, 1, 3, 4]> ({five})", n, c // groups, groups, height, width)
    w.reshape(turned, n, c, height, width)


def depth_to_space(w: Sketch) -> None:
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    if height % 2 == width % 2 == 0 and w.flag():
        w.op(f"SpaceToDepth <blocksize = 2> ({x})", n, 4 * c, height // 2, width // 2)
    elif height * width < 80:
        x, mode = convolve(w, x, 8), w.choose("DCR", "CRD")
        w.op(f'DepthToSpace <blocksize = 2, mode = "{mode}"> ({x})', n, 2, 2 * height, 2 * width)


def channels_last(w: Sketch) -> None:
    """A product over the channels, which stand last for a while."""
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    y = w.op(f"Transpose <perm = [0, 2, 3, 1]> ({x})", n, height, width, c)
    out = w.choose(c, 4)
    y = w.op(f"MatMul ({y}, {w.weight(c, out, fan_in=c)})", n, height, width, out)
    y = w.op(f"Add ({y}, {w.weight(out)})", n, height, width, out)
    if w.flag():
        y = w.op(f"Sigmoid ({y})", n, height, width, out)
    w.op(f"Transpose <perm = [0, 3, 1, 2]> ({y})", n, out, height, width)


def flatten(w: Sketch) -> None:
    """All that is in an image, times a matrix."""
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    size = c * height * width
    if size > 600:
        return
    flat = w.op(f"Flatten ({x})", n, size) if w.flag() else w.reshape(x, n, size)
    out = w.choose(4, 8)
    y = w.op(f"Gemm <transB = 1> ({flat}, {w.weight(out, size, fan_in=size)}, {w.weight(out)})", n, out)
    y = w.op(f"Relu ({y})", n, out)
    w.reshape(y, n, out // 4, 2, 2) if w.flag() else w.reshape(y, n, out, 1, 1)


def expand(w: Sketch) -> None:
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    if height == width == 1:
        w.op(f"Expand ({x}, {w.integers(1, c, 2, 2)})", n, c, 2, 2)


def covariance(w: Sketch) -> None:
    """Channels times channels, summed over the pixels, or pixels times pixels, summed over the channels."""
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    size = height * width
    if size > 40:
        return
    if w.flag():
        x = w.op(f"{w.choose('Sigmoid', 'Softplus', 'Relu')} ({x})", n, c, height, width)
    flat = w.reshape(x, n, c, size)
    turned = w.op(f"Transpose <perm = [0, 2, 1]> ({flat})", n, size, c)
    sides, out = ((flat, turned), c) if w.flag() else ((turned, flat), size)
    product = w.op(f"MatMul ({', '.join(sides)})", n, out, out)
    scaled = w.op(f"Mul ({product}, {w.number(0.2)})", n, out, out)
    w.op(f"Unsqueeze ({w.op(f'Tanh ({scaled})', n, out, out)}, {w.integers(1)})", n, 1, out, out)


def reduced(w: Sketch) -> None:
    x = w.newest(4)
    n, c, *_ = w.shapes[x]
    if w.opset >= 18:
        w.op(f"ReduceMean ({x}, {w.integers(2, 3)})", n, c, 1, 1)
    else:
        w.op(f"ReduceMean <axes = [-1, -2]> ({x})", n, c, 1, 1)


def to_sequence(w: Sketch) -> None:
    """Pixels, or channels, become the steps of a sequence."""
    x = w.newest(4)
    n, c, height, width = w.shapes[x]
    flat = w.reshape(x, n, c, height * width)
    w.rank = 3
    if w.flag():
        w.op(f"Transpose <perm = [0, 2, 1]> ({flat})", n, height * width, c)


IMAGE_MOVES = (
    *(conv, conv_again, depthwise, grouped, transposed_conv, batch_norm, other_norm, resize, pool, expand),
    *(
        squeeze_excite,
        squeeze_excite,
        shuffle,
        depth_to_space,
        depth_to_space,
        channels_last,
        flatten,
        covariance,
        reduced,
    ),
)
