"""Sixteen float32 at once inside numba kernels: a value type that lives in vector registers.

numba's compiler turns plain loops into vector code when it can prove that this is allowed, which it mostly cannot for
loops over short pieces of several arrays. Here the vectors are written down: ``Vector`` values are passed around like
numbers, +, - and * work on them, and the functions below do the rest. LLVM cuts them into whatever the processor has
(one register with AVX-512, two with AVX2, four with SSE or NEON).

Every operation is rounded as float32 and in a fixed order, so results do not depend on how they are cut, except that
``a * b + c`` of :func:`fma` is one rounding on processors with such an instruction and two on others.

numba notices changes of a kernel's own file only (:mod:`model.raster.jit`): whoever changes this file changes the files
of the kernels that use it, too (``SIMD_VERSION`` there).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
"""Numbers in a vector."""

_F32, _I32 = ir.FloatType(), ir.IntType(32)
_FLOATS, _INTS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_BITS, _HALF = ir.VectorType(ir.IntType(1), LANES), ir.IntType(LANES)


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Float32x16")


VECTOR = _VectorType()
"""The numba type of a vector."""


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _FLOATS)


def _constant(values: float | list[float]) -> ir.Constant:
    return ir.Constant(_FLOATS, values if isinstance(values, list) else [values] * LANES)


def _call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    function = builder.module.declare_intrinsic(name, fnty=ir.FunctionType(result, [a.type for a in arguments]))
    return builder.call(function, arguments)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


def _is_flat(array: Any) -> bool:
    return isinstance(array, types.Array) and array.dtype == types.float32 and array.ndim == 1 and array.layout == "C"


@intrinsic
def load(typing, array, index):  # type: ignore[no-untyped-def]
    """array[index : index + 16] of a contiguous float32 array (n,); no bounds are checked."""
    if not (_is_flat(array) and isinstance(index, types.Integer)):
        return None

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(_pointer(context, builder, signature.args[0], *arguments), align=4)

    return VECTOR(array, types.intp), generate


@intrinsic
def store(typing, array, index, value):  # type: ignore[no-untyped-def]
    """array[index : index + 16] = value; no bounds are checked."""
    if not (_is_flat(array) and isinstance(index, types.Integer) and value == VECTOR):
        return None

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(arguments[2], _pointer(context, builder, signature.args[0], *arguments[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), generate


@intrinsic
def splat(typing, value):  # type: ignore[no-untyped-def]
    """The same number in every lane."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        empty = ir.Constant(_FLOATS, ir.Undefined)
        first = builder.insert_element(empty, arguments[0], ir.Constant(_I32, 0))
        return builder.shuffle_vector(first, empty, ir.Constant(_INTS, [0] * LANES))

    return VECTOR(types.float32), generate


def _fixed(values: float | list[float], doc: str) -> Any:
    def constant(typing):  # type: ignore[no-untyped-def]
        return VECTOR(), lambda context, builder, signature, arguments: _constant(values)

    constant.__doc__ = doc
    return intrinsic(constant)


lane_x = _fixed([float(i % 4) for i in range(LANES)], "Column of each lane in a block of 4 x 4.")
lane_y = _fixed([float(i // 4) for i in range(LANES)], "Row of each lane in a block of 4 x 4.")
zero = _fixed(0.0, "Zeros.")
one = _fixed(1.0, "Ones.")


def _operation(operate: Callable[[Any, Any], Any], count: int, doc: str) -> Any:
    """Intrinsic of ``count`` vectors to one: operate(builder, arguments) -> value."""
    signature = VECTOR(*[VECTOR] * count)

    def chosen(*arguments: Any) -> Any:
        if any(argument != VECTOR for argument in arguments):
            return None
        return signature, lambda context, builder, signature, values: operate(builder, values)

    operations: tuple[Any, ...] = (  # an intrinsic's arguments cannot be *arguments
        lambda typing, a: chosen(a),
        lambda typing, a, b: chosen(a, b),
        lambda typing, a, b, c: chosen(a, b, c),
        lambda typing, a, b, c, d: chosen(a, b, c, d),
    )
    operation = operations[count - 1]
    operation.__doc__ = doc
    return intrinsic(operation)


_add = _operation(lambda builder, v: builder.fadd(*v), 2, "a + b")
_subtract = _operation(lambda builder, v: builder.fsub(*v), 2, "a - b")
_multiply = _operation(lambda builder, v: builder.fmul(*v), 2, "a * b")
divide = _operation(lambda builder, v: builder.fdiv(*v), 2, "a / b")
fma = _operation(lambda builder, v: _call(builder, "llvm.fmuladd.v16f32", _FLOATS, v), 3, "a * b + c")
fnma = _operation(
    lambda builder, v: _call(builder, "llvm.fmuladd.v16f32", _FLOATS, [builder.fneg(v[0]), *v[1:]]), 3, "c - a * b"
)
minimum = _operation(
    lambda builder, v: builder.select(builder.fcmp_ordered("<", *v), *v), 2, "The lesser, b where a is NaN"
)
negative_size = _operation(
    lambda builder, v: builder.bitcast(
        builder.or_(builder.bitcast(v[0], _INTS), ir.Constant(_INTS, [-(2**31)] * LANES)), _FLOATS
    ),
    1,
    "-|a|",
)


def _where(relation: str) -> Callable[[Any, Any], Any]:
    return lambda builder, v: builder.select(builder.fcmp_ordered(relation, v[0], v[1]), v[2], v[3])


where_ge = _operation(_where(">="), 4, "c where a >= b, else d")
where_gt = _operation(_where(">"), 4, "c where a > b, else d")


@overload(operator.add)
def _(a, b):  # type: ignore[no-untyped-def]
    return (lambda a, b: _add(a, b)) if a == b == VECTOR else None


@overload(operator.sub)
def _(a, b):  # type: ignore[no-untyped-def]
    return (lambda a, b: _subtract(a, b)) if a == b == VECTOR else None


@overload(operator.mul)
def _(a, b):  # type: ignore[no-untyped-def]
    return (lambda a, b: _multiply(a, b)) if a == b == VECTOR else None


@intrinsic
def any_gt(typing, a, b):  # type: ignore[no-untyped-def]
    """Whether a > b in any lane."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        bits = builder.bitcast(builder.fcmp_ordered(">", *arguments), _HALF)
        return builder.icmp_unsigned("!=", bits, ir.Constant(_HALF, 0))

    return types.boolean(VECTOR, VECTOR), generate


@intrinsic
def lowest_bit(typing, bits):  # type: ignore[no-untyped-def]
    """Position of the lowest bit that is set in an integer that is not 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


# 2^f on [-1/2, 1/2]: least greatest relative error (7.5e-8 in exact arithmetic), lowest power first.
_EXP2 = [1.00000007, 0.693146967, 0.240221197, 0.0555071328, 0.00967554156, 0.00132764715]
EXP2_ERROR = 2.5e-7
"""Bound of the relative error of :func:`exp2` for arguments in [-100, 100]."""


def _exp2(builder: Any, arguments: list[Any]) -> Any:
    # Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits, from where it goes to the exponent's place.
    (x,) = arguments
    magic = _constant(12582912.0)
    shifted = builder.fadd(x, magic)
    rest = builder.fsub(x, builder.fsub(shifted, magic))
    power = _constant(_EXP2[-1])
    for coefficient in _EXP2[-2::-1]:
        power = _call(builder, "llvm.fmuladd.v16f32", _FLOATS, [power, rest, _constant(coefficient)])
    exponent = builder.shl(builder.bitcast(shifted, _INTS), ir.Constant(_INTS, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(power, _INTS), exponent), _FLOATS)


exp2 = _operation(_exp2, 1, "2 ** a for a in [-100, 100]; something else beyond.")


def _merged(width: int) -> Callable[[Any, Any], Any]:
    """Add the upper half of each group of ``width`` lanes to its lower half, those of a first, then those of b."""
    low = [i for i in range(2 * LANES) if i % width < width // 2]
    high = [i for i in range(2 * LANES) if i % width >= width // 2]

    def operate(builder: Any, v: list[Any]) -> Any:
        parts = [builder.shuffle_vector(*v, ir.Constant(_INTS, lanes)) for lanes in (low, high)]
        return builder.fadd(*parts)

    return operate


merge_16 = _operation(_merged(16), 2, "8 partial sums of a, 8 of b.")
merge_8 = _operation(_merged(8), 2, "4 partial sums of each of the two in a, then of those in b.")
merge_4 = _operation(_merged(4), 2, "2 partial sums of each of the four in a, then of those in b.")
merge_2 = _operation(_merged(2), 2, "Sums of the eight in a, then of those in b.")
