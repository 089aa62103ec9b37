"""What numba's loops can't say well: bits of a word, prefetches, and the sum of byte columns over a block of rows held in registers.

LLVM turns the vectors of 64 into what the processor has (AVX-512, AVX2, SSE2, NEON), so there is one text for all of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types

intrinsic: Any = extending.intrinsic  # its own type takes the first parameter for one that callers give

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_LANES = 64
_STEPS = ir.VectorType(_I16, _LANES)


def _unary(name: str) -> Any:
    """An LLVM function of one 64-bit word."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        more = [ir.IntType(1)] if name == "cttz" else []
        called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I64, [_I64, *more]), f"llvm.{name}.i64")
        return builder.call(called, [args[0], *(t(1) for t in more)])

    return codegen


@intrinsic
def count_ones(typing: Any, word: Any) -> Any:
    """Number of ones in a uint64, as int64."""
    return types.int64(types.uint64), _unary("ctpop")


@intrinsic
def lowest_one(typing: Any, word: Any) -> Any:
    """Place of the lowest one in a uint64 that is not 0, as int64."""
    return types.int64(types.uint64), _unary("cttz")


@intrinsic
def prefetch(typing: Any, array: Any, at: Any) -> Any:
    """Ask for the cache line of an entry of an array, without waiting for it; the place may be any, also outside of the array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(made.data, [args[1]]), _I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        called = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(called, [place, _I32(0), _I32(3), _I32(1)])  # to read, into all caches, data
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


def _splat(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(ir.VectorType(value.type, _LANES), ir.Undefined)
    first = builder.insert_element(nothing, value, _I32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_I32, _LANES), [0] * _LANES))


def _times(builder: Any, array: Any, number: Any, at: Any, multiplier: Any) -> Any:
    """64 bytes of a row of a matrix from a place on, each times a multiplier and divided by 256; where not 0, 1 more, so rounded up."""
    place = builder.gep(array.data, [builder.add(builder.mul(number, builder.extract_value(array.strides, 0)), at)])
    here = builder.load(builder.bitcast(place, ir.VectorType(_I8, _LANES).as_pointer()), align=1)
    wide = ir.VectorType(_I32, _LANES)  # in name: processors have an instruction for the high half of a product of 16 bits
    high = builder.shl(builder.zext(here, _STEPS), _splat(builder, _I16(8)))
    product = builder.mul(builder.zext(high, wide), builder.zext(_splat(builder, multiplier), wide))
    down = builder.trunc(builder.lshr(product, _splat(builder, _I32(16))), _STEPS)
    return builder.add(down, builder.zext(builder.icmp_unsigned("!=", here, ir.Constant(here.type, None)), _STEPS))


@intrinsic
def add_up(typing: Any, matrix: Any, numbers: Any, times: Any, n: Any, at: Any, sums: Any, place: Any) -> Any:
    """Sum 64 entries of n rows of a matrix, each times its row's multiplier as in `sum_block`.

    matrix   uint8 (C, >= at + 64)
    numbers  int64 (>= n,)             which rows
    times    uint16 (>= n,)            their multipliers
    sums     uint16 (>= place + 64,)   output
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, which, multipliers, out = (context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 1, 2, 5))
        total = cgutils.alloca_once(builder, _STEPS)
        builder.store(ir.Constant(_STEPS, None), total)
        with cgutils.for_range(builder, args[3]) as loop:
            number, multiplier = (builder.load(builder.gep(a.data, [loop.index])) for a in (which, multipliers))
            builder.store(builder.add(builder.load(total), _times(builder, rows, number, args[4], multiplier)), total)
        builder.store(builder.load(total), builder.bitcast(builder.gep(out.data, [args[6]]), _STEPS.as_pointer()), align=2)
        return context.get_dummy_value()

    return types.void(matrix, numbers, times, types.int64, types.int64, sums, types.int64), codegen


@intrinsic
def sum_block(typing: Any, steps: Any, tops: Any, numbers: Any, times: Any, n: Any, block: Any, most: Any, needed: Any, sums: Any) -> Any:
    """The same sum of a block's rows; uint64 of the rows whose sum is at least what is needed.

    It stops with 0 as soon as no row can reach that with what the columns that are left can add; the sums are void then.

    steps    uint8 (C, N)         rows of the block are 64 block to 64 block + 63
    tops     uint8 (C, blocks)    the largest step in each block
    numbers  int64 (>= n,)        which columns, those that can add the most first
    times    uint16 (>= n,)       their multipliers
    most     int64                what `add_up` says of the tops of this block
    needed   int64                0 to 65535
    sums     uint16 (64,)         output
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        columns, largest, which, multipliers, out = (
            context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 1, 2, 3, 8)
        )
        needed_steps = _splat(builder, builder.trunc(args[7], _I16))
        at_row = builder.mul(args[5], _I64(_LANES))
        total, left, reached = (cgutils.alloca_once(builder, t) for t in (_STEPS, _I64, _I64))
        builder.store(ir.Constant(_STEPS, None), total)
        builder.store(args[6], left)
        builder.store(builder.select(builder.icmp_unsigned("==", args[7], _I64(0)), _I64(-1), _I64(0)), reached)
        with cgutils.for_range(builder, args[4]) as loop:
            number, multiplier = (builder.load(builder.gep(a.data, [loop.index])) for a in (which, multipliers))
            summed = builder.add(builder.load(total), _times(builder, columns, number, at_row, multiplier))
            builder.store(summed, total)
            top_at = builder.add(builder.mul(number, builder.extract_value(largest.strides, 0)), args[5])
            top = builder.zext(builder.load(builder.gep(largest.data, [top_at])), _I64)
            down = builder.lshr(builder.mul(top, builder.zext(multiplier, _I64)), _I64(8))
            could = builder.add(down, builder.zext(builder.icmp_unsigned("!=", top, _I64(0)), _I64))
            rest = builder.sub(builder.load(left), could)
            builder.store(rest, left)
            with_rest = builder.add(summed, _splat(builder, builder.trunc(rest, _I16)))
            rows = builder.bitcast(builder.icmp_unsigned(">=", with_rest, needed_steps), _I64)
            builder.store(rows, reached)
            with builder.if_then(builder.icmp_unsigned("==", rows, _I64(0)), likely=False):
                loop.do_break()
        builder.store(builder.load(total), builder.bitcast(out.data, _STEPS.as_pointer()), align=2)
        return builder.load(reached)

    return types.uint64(steps, tops, numbers, times, types.int64, types.int64, types.int64, types.int64, sums), codegen


@intrinsic
def rows_above(typing: Any, totals: Any, at: Any, sums: Any, step: Any, threshold: Any) -> Any:
    """uint64 of the rows of a block whose bound is above the threshold: the total, rounded, and the sum times a step.

    totals   float64 (>= at + 64,)   those of the block from at on
    sums     uint16 (64,)
    step, threshold   float32
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from_, sums_ = (context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 2))
        doubles, floats = ir.VectorType(ir.DoubleType(), _LANES), ir.VectorType(ir.FloatType(), _LANES)
        total = builder.load(builder.bitcast(builder.gep(from_.data, [args[1]]), doubles.as_pointer()), align=8)
        steps = builder.uitofp(builder.load(builder.bitcast(sums_.data, _STEPS.as_pointer()), align=2), floats)
        bounds = builder.fadd(builder.fptrunc(total, floats), builder.fmul(steps, _splat(builder, args[3])))
        return builder.bitcast(builder.fcmp_ordered(">", bounds, _splat(builder, args[4])), _I64)

    return types.uint64(totals, types.int64, sums, types.float32, types.float32), codegen
