"""exp, tanh and erf as arithmetic, so that they are computed for a whole vector at once. In the compiler process.

TVM calls the C library for each element, which takes most of the time of a softmax or a GELU. The polynomials below
were fitted with Lawson's algorithm in double precision; results are within a few units in the last place of float32.
Infinities, NaN, overflow and underflow come out as from the C library. float16 is computed in float32; float64 is left to the
C library.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm.tirx import register_intrin_lowering

Expr = Any

LEVEL = 99
"""Above TVM's own rules."""
EXP_TERMS = tuple(1 / math.factorial(k) for k in range(8))
"""Of the exponential series; the rest is below 1e-8 for arguments up to log(2) / 2."""
LOG2_HIGH, LOG2_LOW = 0.693359375, math.log(2) - 0.693359375
"""log(2) in two parts; multiples of the first are exact."""
EXP_RANGE = (-104.0, 89.0)
"""Beyond these, the result is 0 or infinite."""
TANH_NEAR = 0.55
TANH_TERMS = (0.9999999991, -0.3333331166, 0.1333247922, -0.05384441356, 0.02104611245, -0.006244061589)
"""tanh(x) / x in x^2, for arguments up to ``TANH_NEAR``."""
TANH_FAR = 9.1
ERF_NEAR = 0.95
ERF_TERMS = (1.128379166, -0.3761263161, 0.11283664, -0.02685770511, 0.0051969521, -0.0008097703495, 8.185093582e-05)
"""erf(x) / x in x^2, for arguments up to ``ERF_NEAR``."""
ERF_FAR = 4.0
ERFC_TERMS = (
    -8.398063981e-05,
    1.128967873,
    0.6347847536,
    0.1061204454,
    -0.02307830461,
    0.002913256302,
    7.052586019e-05,
    -0.0001061856793,
    1.826265954e-05,
    -1.1358102e-06,
)
"""-log(1 - erf(x)), for arguments between ``ERF_NEAR`` and ``ERF_FAR``."""


@functools.cache
def register() -> None:
    """Let TVM's code generator for CPUs use the functions below; for the whole process."""
    for name, function in (("exp", exp), ("tanh", tanh), ("erf", erf)):
        register_intrin_lowering(f"tirx.{name}", "llvm", f=_for_floats(function), level=LEVEL)


def exp(x: Expr) -> Expr:
    """e to the power of x: 2^n times the series of the rest."""
    number = _constant(x)
    low, high = map(number, EXP_RANGE)
    inside = tvm.tirx.max(tvm.tirx.min(x, high), low)
    n = tvm.tirx.floor(inside * number(1 / math.log(2)) + number(0.5))
    rest = inside - n * number(LOG2_HIGH) - n * number(LOG2_LOW)
    whole = n.astype(_int32(x))
    half = tvm.tirx.shift_right(whole, _integer(x, 1))
    result = _polynomial(EXP_TERMS, rest, number) * _power_of_two(half, x) * _power_of_two(whole - half, x)
    return _unless_nan(x, result)


def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent: a polynomial near 0, else by the exponential of twice the magnitude."""
    number = _constant(x)
    square, size = x * x, _size(x)
    near = x * _polynomial(TANH_TERMS, square, number)
    far = number(1) - number(2) / (exp(number(2) * tvm.tirx.min(size, number(TANH_FAR))) + number(1))
    result = _select(size < number(TANH_NEAR), near, _signed(far, x))
    return _unless_nan(x, result)


def erf(x: Expr) -> Expr:
    """Error function: a polynomial near 0, else by the logarithm of what it lacks to 1."""
    number = _constant(x)
    square, size = x * x, _size(x)
    near = x * _polynomial(ERF_TERMS, square, number)
    lack = _polynomial(ERFC_TERMS, tvm.tirx.min(size, number(ERF_FAR)), number)
    result = _select(size < number(ERF_NEAR), near, _signed(number(1) - exp(number(0) - lack), x))
    return _unless_nan(x, result)


def _for_floats(function: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
    def lower(call: Expr) -> Expr:
        dtype = str(call.ty.dtype)
        if dtype.startswith("float16"):
            return function(call.args[0].astype(dtype.replace("float16", "float32"))).astype(dtype)
        if dtype.startswith("float32"):
            return function(call.args[0])
        if function is erf:
            return call
        return tvm.tirx.call_llvm_pure_intrin(dtype, f"llvm.{function.__name__}", call.args[0])

    return lower


def _polynomial(terms: Sequence[float], x: Expr, number: Callable[[float], Expr]) -> Expr:
    result = number(terms[-1])
    for term in reversed(terms[:-1]):
        result = result * x + number(term)
    return result


def _constant(like: Expr) -> Callable[[float], Expr]:
    return lambda value: tvm.tirx.const(value, like.ty.dtype)


def _integer(like: Expr, value: int) -> Expr:
    return tvm.tirx.const(value, _int32(like))


def _int32(like: Expr) -> str:
    return str(like.ty.dtype).replace("float32", "int32")


def _power_of_two(n: Expr, like: Expr) -> Expr:
    """2^n for n that an exponent of float32 can hold."""
    bits = tvm.tirx.shift_left(n + _integer(like, 127), _integer(like, 23))
    return tvm.tirx.reinterpret(like.ty.dtype, bits)


def _size(x: Expr) -> Expr:
    return tvm.tirx.max(x, _constant(x)(0) - x)


def _signed(size: Expr, x: Expr) -> Expr:
    return _select(x < _constant(x)(0), _constant(x)(0) - size, size)


def _unless_nan(x: Expr, result: Expr) -> Expr:
    """NaN goes through: only it differs from itself, but comparisons of the same expression would be simplified."""
    return _select(tvm.tirx.isnan(x), x, result)


def _select(condition: Expr, yes: Expr, no: Expr) -> Expr:
    return tvm.tirx.Select(condition, yes, no)
