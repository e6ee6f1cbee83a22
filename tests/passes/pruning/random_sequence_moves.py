"""Moves over sequences, (batch, steps, features), for random graphs."""

from __future__ import annotations

import numpy as np

from tests.models import Array
from tests.passes.pruning.random_graphs import BATCH, Sketch


def start_sequence(w: Sketch) -> dict[str, Array]:
    """Features from a product, or from a table by indices."""
    features = w.choose(4, 6, 8)
    if w.flag():
        w.shapes["ids"] = (BATCH, 5)
        w.op(f"Gather ({w.weight(9, features)}, ids)", BATCH, 5, features)
        return {"ids": w.random.integers(0, 9, (BATCH, 5))}
    w.shapes["x"] = (BATCH, 5, 7)
    linear(w, "x", features)
    return {"x": w.random.standard_normal((BATCH, 5, 7)).astype(np.float32)}


def linear(w: Sketch, x: str, out: int) -> str:
    """A product with a matrix in one of several spellings, perhaps with a bias."""
    n, t, f = w.shapes[x]
    weight, bias = w.weight(f, out, fan_in=f), w.weight(out)
    kind = w.choose("MatMul", "MatMul", "Gemm", "Einsum")
    if kind == "Gemm":
        flat = w.reshape(x, n * t, f)
        y = w.op(f"Gemm <alpha = 0.5> ({flat}, {weight}, {bias})", n * t, out)
        return w.op(f"Reshape ({y}, {w.integers(-1, t, out)})", n, t, out)
    y = w.op(
        f'Einsum <equation = "ntf,fo->nto"> ({x}, {weight})' if kind == "Einsum" else f"MatMul ({x}, {weight})",
        n,
        t,
        out,
    )
    return w.op(f"Add ({w.choose(f'{y}, {bias}', f'{bias}, {y}')})", n, t, out) if w.flag() else y


def feed_forward(w: Sketch) -> None:
    """Wider, an activation, narrower, and what came in is added."""
    x = w.newest(3)
    hidden = linear(w, x, w.choose(5, 8))
    if w.flag():
        hidden = w.op(f"{w.choose('Relu', 'Sigmoid', 'Tanh', 'Erf')} ({hidden})", *w.shapes[hidden])
    else:
        power = w.op(f"Sigmoid ({hidden})", *w.shapes[hidden])
        hidden = w.op(f"Mul ({hidden}, {power})", *w.shapes[hidden])
    w.op(f"Add ({linear(w, hidden, w.shapes[x][2])}, {x})", *w.shapes[x])


def layer_norm(w: Sketch) -> None:
    x = w.newest(3)
    n, t, f = shape = w.shapes[x]
    if w.opset >= 17:
        w.op(f"LayerNormalization <axis = -1> ({x}, {w.weight(f)}, {w.weight(f)})", *shape)
        return
    axes = f"{w.op(f'ReduceMean <axes = [-1]> ({x})', n, t, 1)}"
    centred = w.op(f"Sub ({x}, {axes})", *shape)
    variance = w.op(f"ReduceMean <axes = [-1]> ({w.op(f'Mul ({centred}, {centred})', *shape)})", n, t, 1)
    root = w.op(f"Sqrt ({w.op(f'Add ({variance}, {w.number(0.01)})', n, t, 1)})", n, t, 1)
    scaled = w.op(f"Div ({centred}, {root})", *shape)
    w.op(f"Add ({w.op(f'Mul ({scaled}, {w.weight(f)})', *shape)}, {w.weight(f)})", *shape)


def attention(w: Sketch) -> None:
    """Heads of queries, keys and values, projected apart or at once; perhaps added to what came in."""
    x = w.newest(3)
    n, t, f = w.shapes[x]
    heads, size = w.choose((2, 3), (3, 2), (1, 4), (2, 4))
    inner = heads * size
    q, k, v = (_apart if w.flag() else _at_once)(w, x, heads, size)
    turned = w.op(f"Transpose <perm = [0, 1, 3, 2]> ({k})", n, heads, size, t)
    if w.flag():
        scores = w.op(f"MatMul ({q}, {turned})", n, heads, t, t)
    else:
        scores = w.op(f'Einsum <equation = "bhtd,bhsd->bhts"> ({q}, {k})', n, heads, t, t)
    scores = w.op(f"Mul ({scores}, {w.number(size**-0.5)})", n, heads, t, t)
    if w.flag():
        scores = w.op(f"Add ({scores}, {w.weight(*w.choose((1, 1, t, t), (heads, t, t), (t,)))})", n, heads, t, t)
    if w.random.random() < 0.8:
        scores = w.op(f"Softmax <axis = -1> ({scores})", n, heads, t, t)
    mixed = w.op(f"MatMul ({scores}, {v})", n, heads, t, size)
    joined = w.op(f"Transpose <perm = [0, 2, 1, 3]> ({mixed})", n, t, heads, size)
    joined = w.reshape(joined, n, t, inner)
    y = linear(w, joined, f)
    if w.flag():
        w.op(f"Add ({x}, {y})", n, t, f)


def _apart(w: Sketch, x: str, heads: int, size: int) -> list[str]:
    n, t, _ = w.shapes[x]
    found = []
    for _ in range(3):
        split = w.reshape(linear(w, x, heads * size), n, t, heads, size)
        found.append(w.op(f"Transpose <perm = [0, 2, 1, 3]> ({split})", n, heads, t, size))
    return found


def _at_once(w: Sketch, x: str, heads: int, size: int) -> list[str]:
    n, t, _ = w.shapes[x]
    inner = heads * size
    y = linear(w, x, 3 * inner)
    if w.flag():
        parts = w.ops(f"Split <axis = 2> ({y}, {w.integers(inner, inner, inner)})", *[(n, t, inner)] * 3)
        found = []
        for part in parts:
            split = w.reshape(part, n, t, heads, size)
            found.append(w.op(f"Transpose <perm = [0, 2, 1, 3]> ({split})", n, heads, t, size))
        return found
    five = w.reshape(y, n, t, 3, heads, size)
    turned = w.op(f"Transpose <perm = [2, 0, 3, 1, 4]> ({five})", 3, n, heads, t, size)
    return [w.op(f"Gather <axis = 0> ({turned}, {w.constant(np.array(i), 'i')})", n, heads, t, size) for i in range(3)]


def bilinear(w: Sketch) -> None:
    """Attention without probabilities: features times steps times features."""
    x = w.newest(3)
    n, t, _ = w.shapes[x]
    a, b = linear(w, x, 4), linear(w, x, 4)
    if w.flag():
        b = w.op(f"{w.choose('Relu', 'Sigmoid')} ({b})", n, t, 4)
    turned = w.op(f"Transpose <perm = [0, 2, 1]> ({a})", n, 4, t)
    product = w.op(f"MatMul ({turned}, {b})", n, 4, 4) if w.flag() else w.op(f"MatMul ({b}, {turned})", n, t, t)
    w.op(f"Tanh ({product})", *w.shapes[product])


def recurrent(w: Sketch) -> None:
    x = w.newest(3)
    n, t, f = w.shapes[x]
    op, gates = w.choose(("LSTM", 4), ("LSTM", 4), ("GRU", 3), ("RNN", 1))
    both = w.flag()
    d, hidden = 1 + both, w.choose(3, 4)
    turned = w.op(f"Transpose <perm = [1, 0, 2]> ({x})", t, n, f)
    bias = f", {w.weight(d, 2 * gates * hidden)}" if w.flag() else ""
    if bias and w.flag() and not w.dynamic:
        bias += f", , {w.weight(d, n, hidden)}"
    attributes = f'hidden_size = {hidden}, direction = "{"bidirectional" if both else w.choose("forward", "reverse")}"'
    weights = f"{w.weight(d, gates * hidden, f, fan_in=f)}, {w.weight(d, gates * hidden, hidden, fan_in=hidden)}"
    (y, last) = w.ops(f"{op} <{attributes}> ({turned}, {weights}{bias})", (t, d, n, hidden), (d, n, hidden))
    if w.random.random() < 0.3:
        w.op(f"Transpose <perm = [1, 0, 2]> ({last})", n, d, hidden)
    elif both or w.flag():
        joined = w.op(f"Transpose <perm = [2, 0, 1, 3]> ({y})", n, t, d, hidden)
        w.reshape(joined, n, t, d * hidden)
    else:
        joined = w.op(f"Squeeze ({y}, {w.integers(1)})", t, n, hidden)
        w.op(f"Transpose <perm = [1, 0, 2]> ({joined})", n, t, hidden)
    del w.shapes[y], w.shapes[last], w.shapes[turned]


def position(w: Sketch) -> None:
    x = w.newest(3)
    _, t, f = w.shapes[x]
    w.op(f"Add ({x}, {w.weight(*w.choose((1, t, f), (t, f), (t, 1)))})", *w.shapes[x])


def first_token(w: Sketch) -> None:
    """A step that is constant in front of the others."""
    x = w.newest(3)
    n, t, f = w.shapes[x]
    if not w.dynamic:
        w.op(f"Concat <axis = 1> ({w.weight(n, 1, f)}, {x})", n, t + 1, f)


def some_steps(w: Sketch) -> None:
    x = w.newest(3)
    n, t, f = w.shapes[x]
    if t < 3:
        return
    if w.flag():
        w.op(f"Slice ({x}, {w.integers(1)}, {w.integers(t)}, {w.integers(1)})", n, t - 1, f)
    else:
        w.op(f"Pad ({x}, {w.integers(0, 1, 0, 0, 0, 0)}, {w.number(w.choose(0.0, 0.5))})", n, t + 1, f)


def mix_steps(w: Sketch) -> None:
    """A product over the steps, from the left or after a Transpose."""
    x = w.newest(3)
    n, t, f = w.shapes[x]
    out = w.choose(t, 4)
    if w.flag():
        w.op(f"MatMul ({w.weight(out, t, fan_in=t)}, {x})", n, out, f)
    else:
        turned = w.op(f"Transpose <perm = [0, 2, 1]> ({x})", n, f, t)
        y = linear(w, turned, out)
        w.op(f"Transpose <perm = [0, 2, 1]> ({y})", n, out, f)


def conv1d(w: Sketch) -> None:
    x = w.newest(3)
    n, t, f = w.shapes[x]
    turned = w.op(f"Transpose <perm = [0, 2, 1]> ({x})", n, f, t)
    groups = w.choose(1, f)
    out = f if groups == f else w.choose(4, 6)
    weight = w.weight(out, f // groups, 3, fan_in=3 * f // groups)
    y = w.op(f"Conv <pads = [1, 1], group = {groups}> ({turned}, {weight}, {w.weight(out)})", n, out, t)
    w.op(f"Transpose <perm = [0, 2, 1]> ({y})", n, t, out)


def batched_weights(w: Sketch) -> None:
    """A matrix of its own for each of several heads."""
    x = w.newest(3)
    n, t, f = w.shapes[x]
    heads, size = 3, w.choose(2, 4)
    one = w.op(f"Unsqueeze ({x}, {w.integers(1)})", n, 1, t, f)
    y = w.op(f"MatMul ({one}, {w.weight(heads, f, size, fan_in=f)})", n, heads, t, size)
    y = w.op(f"Relu ({y})", n, heads, t, size)
    y = w.op(f"MatMul ({y}, {w.weight(heads, size, 4, fan_in=size)})", n, heads, t, 4)
    turned = w.op(f"Transpose <perm = [0, 2, 1, 3]> ({y})", n, t, heads, 4)
    w.reshape(turned, n, t, heads * 4)


def to_image(w: Sketch) -> None:
    """Steps become the height, or the pixels."""
    x = w.newest(3)
    n, t, f = w.shapes[x]
    turned = w.op(f"Transpose <perm = [0, 2, 1]> ({x})", n, f, t)
    w.rank = 4
    if w.flag():
        w.op(f"Unsqueeze ({turned}, {w.integers(3)})", n, f, t, 1)
    else:
        w.reshape(turned, n, f, 1, t)


SEQUENCE_MOVES = (
    *(
        feed_forward,
        layer_norm,
        layer_norm,
        attention,
        attention,
        bilinear,
        recurrent,
        recurrent,
        position,
        first_token,
    ),
    *(first_token, some_steps, mix_steps, conv1d, batched_weights),
)
