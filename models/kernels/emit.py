"""Helpers that emit TIR through TVM's IRBuilder: registers, loads, arithmetic, loops, parallel phases.

Float vectors have 16 lanes on every machine; LLVM splits them into registers. Horizontal sums add in one fixed order.
All instruction sets with a fused multiply-add therefore give the same bits. No operation may compile to a call into
libm or compiler-rt, whose results and presence depend on the system.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as tir

from models.kernels.isa import Expr, Machine, intrinsic

LANES = 16  # lanes of the vectors used outside the integer tiles
# 1.5 * 2**23. A float32 of this size counts in steps of 1, so that adding it rounds |v| < 2**22 to an integer, ties to
# even, and leaves that integer in the low bits of the mantissa.
_ROUNDING = 12582912.0
_ROUNDING_BITS = 0x4B400000  # the bits of _ROUNDING
# exp(r) = 1 + r + r**2 * polynomial(r) on |r| <= ln 2 / 2: coefficients of Cephes' expf, highest power first.
_EXP_COEFFICIENTS = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
# ln 2 in two parts. The first has so few bits that its product with a whole number below 2**8 is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4


def f32(value: float) -> Expr:
    """A float32 constant."""
    return tir.float32(value)


def i64(value: Any) -> Expr:
    """An index: a Python int becomes a constant, an expression is converted."""
    return tir.int64(value) if isinstance(value, int) else tir.cast(value, "int64")


def splat(value: Expr, lanes: int = LANES) -> Expr:
    """The same scalar in every lane."""
    return tir.broadcast(value, lanes) if lanes > 1 else value


def bind(value: Expr) -> Expr:
    """Compute the value here, once. An expression that is not bound is computed again at every use."""
    return tir.Bind(value)


def load(buffer: Any, offset: Expr, lanes: int = LANES) -> Expr:
    """buffer[offset : offset + lanes] as a vector, a scalar for one lane."""
    return buffer.vload([offset], f"{buffer.ty.dtype}x{lanes}") if lanes > 1 else buffer[offset]


def store(buffer: Any, offset: Expr, value: Expr, lanes: int = LANES) -> None:
    """buffer[offset : offset + lanes] = value"""
    tir.buffer_store(buffer, value, [tir.ramp(offset, 1, lanes)] if lanes > 1 else [offset])


def prefetch(buffer: Any, offset: Expr) -> None:
    """Prefetch the cache line at an offset. An offset beyond the end is harmless: prefetches do not fault."""
    address = tir.address_of(buffer[offset])
    # Arguments of the intrinsic: read or write, locality (0..3), instruction or data cache.
    read, keep, data = tir.int32(0), tir.int32(3), tir.int32(1)
    tir.evaluate(tir.call_llvm_intrin("void", "llvm.prefetch.p0", address, read, keep, data))


def local(dtype: str, size: int) -> Any:
    """A small array in registers or on the stack.

    Without the annotation TVM allocates it on the heap, which halves the speed of the kernels.
    """
    return tir.alloc_buffer(
        (size,), dtype, scope="local", layout=None, annotations={"disable_lower_builtin": True}
    )


class Register:
    """A vector variable. LLVM keeps it in registers. Its initial value is undefined."""

    def __init__(self, dtype: str = "float32", lanes: int = LANES) -> None:
        self.lanes = lanes
        self._dtype = dtype
        self._buffer = local(dtype, lanes)

    @property
    def value(self) -> Expr:
        return load(self._buffer, 0, self.lanes)

    @value.setter
    def value(self, value: Expr) -> None:
        store(self._buffer, 0, value, self.lanes)

    def lanes_at(self, first: int, count: int) -> Expr:
        """Lanes first .. first + count - 1 as a vector."""
        return self._buffer.vload([first], f"{self._dtype}x{count}")

    def set_lanes_at(self, first: int, value: Expr, count: int) -> None:
        store(self._buffer, first, value, count)

    def clear(self) -> None:
        self.value = splat(getattr(tir, self._dtype)(0), self.lanes)


def registers(count: int, dtype: str = "float32", lanes: int = LANES) -> list[Register]:
    """`count` vector variables set to zero."""
    made = [Register(dtype, lanes) for _ in range(count)]
    for register in made:
        register.clear()
    return made


def lower_half(vector: Expr, lanes: int) -> Expr:
    """Lanes 0 .. lanes / 2 - 1."""
    return tir.Shuffle([vector], list(range(lanes // 2)))


def upper_half(vector: Expr, lanes: int) -> Expr:
    """Lanes lanes / 2 .. lanes - 1."""
    return tir.Shuffle([vector], list(range(lanes // 2, lanes)))


def sum_lanes(vector: Expr, lanes: int = LANES) -> Expr:
    """The sum of all lanes: lower half + upper half, until one lane is left."""
    while lanes > 1:
        vector = bind(vector)
        vector = lower_half(vector, lanes) + upper_half(vector, lanes)
        lanes //= 2
    return bind(vector)


def max_lanes(vector: Expr, lanes: int = LANES) -> Expr:
    """The largest of all lanes."""
    while lanes > 1:
        vector = bind(vector)
        vector = tir.max(lower_half(vector, lanes), upper_half(vector, lanes))
        lanes //= 2
    return bind(vector)


def sum_integers(vector: Expr) -> Expr:
    """The sum of int32 lanes."""
    return intrinsic("llvm.vector.reduce.add", "int32", vector)


def round_to_int(vector: Expr, lanes: int = LANES) -> Expr:
    """float32 lanes rounded to int32, ties to even. |value| must be below 2**22."""
    shifted = tir.reinterpret(vector + splat(f32(_ROUNDING), lanes), dtype=f"int32x{lanes}")
    return shifted - splat(tir.int32(_ROUNDING_BITS), lanes)


class Emitter:
    """Arithmetic whose instructions depend on the machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def fma(self, a: Expr, b: Expr, c: Expr) -> Expr:
        """a * b + c, rounded once on machines with a fused multiply-add, else twice."""
        return tir.fma(a, b, c) if self.machine.fused else a * b + c

    def exp(self, x: Expr) -> Expr:
        """e**x of 16 float32 lanes, relative error below 2e-7. x is clamped to -87..88.

        x = n ln 2 + r with n whole and |r| <= ln 2 / 2, and e**x = 2**n e**r.
        """
        x = bind(tir.min(tir.max(x, splat(f32(-87.0))), splat(f32(88.0))))
        exponent = bind(round_to_int(x * splat(f32(1.4426950408889634))))  # n = round(x / ln 2), -126..127
        whole = bind(tir.cast(exponent, f"float32x{LANES}"))
        rest = bind(self.fma(whole, splat(f32(-_LN2_HIGH)), x))
        rest = bind(self.fma(whole, splat(f32(-_LN2_LOW)), rest))
        power = splat(f32(_EXP_COEFFICIENTS[0]))
        for coefficient in _EXP_COEFFICIENTS[1:]:
            power = bind(self.fma(power, rest, splat(f32(coefficient))))
        power = bind(self.fma(power, rest * rest, rest + splat(f32(1.0))))
        # The bits of 2**n: exponent field n + 127 (1..254), mantissa 0.
        scale = tir.shift_left(exponent + splat(tir.int32(127)), splat(tir.int32(23)))
        return bind(power * tir.reinterpret(scale, dtype=f"float32x{LANES}"))

    def sigmoid(self, x: Expr) -> Expr:
        """1 / (1 + e**-x) of 16 float32 lanes."""
        return splat(f32(1.0)) / (splat(f32(1.0)) + self.exp(splat(f32(0.0)) - x))

    def load_half(self, buffer: Any, offset: Expr, lanes: int = LANES) -> Expr:
        """Load float16 values from a uint16 buffer as float32 lanes."""
        return self.from_half(load(buffer, offset, lanes), lanes)

    def from_half(self, bits: Expr, lanes: int = LANES) -> Expr:
        """float32 lanes from uint16 lanes with the bits of finite float16 values. Exact."""
        if self.machine.half:
            return tir.cast(tir.reinterpret(bits, dtype=f"float16x{lanes}"), f"float32x{lanes}")
        # float16: sign, 5 bits of exponent (bias 15), 10 of mantissa. float32: sign, 8 (bias 127), 23.
        wide = bind(tir.cast(bits, f"int32x{lanes}"))
        magnitude = tir.shift_left(
            tir.bitwise_and(wide, splat(tir.int32(0x7FFF), lanes)), splat(tir.int32(13), lanes)
        )
        sign = tir.shift_left(
            tir.bitwise_and(wide, splat(tir.int32(0x8000), lanes)), splat(tir.int32(16), lanes)
        )
        # The multiplication by 2**(127 - 15) corrects the bias, for subnormal numbers too.
        scaled = tir.reinterpret(magnitude, dtype=f"float32x{lanes}") * splat(f32(2.0**112), lanes)
        return tir.reinterpret(
            tir.bitwise_or(tir.reinterpret(scaled, dtype=f"int32x{lanes}"), sign), dtype=f"float32x{lanes}"
        )

    def to_half(self, vector: Expr) -> Expr:
        """The bits of 16 float32 lanes rounded to float16, ties to even, as uint16 lanes.

        Without hardware, magnitudes above 65504, the largest float16, become 65504; with it, infinity.
        """
        if self.machine.half:
            return tir.reinterpret(tir.cast(vector, f"float16x{LANES}"), dtype=f"uint16x{LANES}")
        integers = f"int32x{LANES}"
        bits = bind(tir.reinterpret(vector, dtype=integers))
        sign = tir.bitwise_and(tir.shift_right(bits, splat(tir.int32(16))), splat(tir.int32(0x8000)))
        limited = tir.min(
            tir.reinterpret(tir.bitwise_and(bits, splat(tir.int32(0x7FFFFFFF))), dtype=f"float32x{LANES}"),
            splat(f32(65504.0)),
        )
        size = bind(tir.reinterpret(limited, dtype=integers))
        # Normal numbers: 13 bits of mantissa are rounded off (half of the last bit, less one, plus its parity), and the
        # bias changes from 127 to 15.
        odd = tir.bitwise_and(tir.shift_right(size, splat(tir.int32(13))), splat(tir.int32(1)))
        normal = tir.shift_right(size + splat(tir.int32(0xFFF)) + odd, splat(tir.int32(13))) - splat(
            tir.int32(112 << 10)
        )
        # Below 2**-14 a float16 counts in steps of 2**-24, as a float32 does between 0.5 and 1: adding 0.5 rounds to
        # them, and the difference to the bits of 0.5 (0x3F000000) is the number of steps.
        stepped = tir.reinterpret(
            tir.reinterpret(size, dtype=f"float32x{LANES}") + splat(f32(0.5)), dtype=integers
        )
        subnormal = stepped - splat(tir.int32(0x3F000000))
        chosen = tir.Select(size < splat(tir.int32(113 << 23)), subnormal, normal)
        return tir.cast(tir.bitwise_or(chosen, sign), f"uint16x{LANES}")


@contextmanager
def when(condition: Expr) -> Iterator[None]:
    """Emit the enclosed statements under `if condition`."""
    with tir.If(condition), tir.Then():
        yield


@contextmanager
def launch() -> Iterator[None]:
    """One call of the thread pool. The phases inside are separated by barriers."""
    with tir.attr(0, "pragma_parallel_launch_point", 1):
        yield


@contextmanager
def phase(threads: Expr) -> Iterator[Expr]:
    """A parallel section inside launch(). Yields the thread's number (int64, 0 .. threads - 1).

    It ends with a barrier. If the pool has fewer threads than `threads`, a pool thread runs several numbers.
    """
    with tir.attr(0, "pragma_parallel_barrier_when_finish", 1), tir.parallel(threads) as number:
        yield number


def share(count: Expr, thread: Expr, threads: Expr) -> Any:
    """A loop over the thread's contiguous share of 0 .. count - 1. Use: `with share(...) as index`."""
    first = bind(tir.truncdiv(thread * count, threads))
    end = bind(tir.truncdiv((thread + 1) * count, threads))
    return tir.serial(first, end)


def function(name: str, scalars: Sequence[str], buffers: Sequence[tuple[str, str]]) -> PrimFuncBuilder:
    """A function to emit, with int32 scalars first, then one flat buffer of any length per (name, dtype).

    Use: `with function(...) as arguments` around the body, which reads arguments["name"]; then `.result`. The buffers
    of a call must not overlap.
    """
    return PrimFuncBuilder(name, scalars, buffers)


class PrimFuncBuilder:
    """A function that is being emitted. result: the tvm PrimFunc, after the with block."""

    def __init__(self, name: str, scalars: Sequence[str], buffers: Sequence[tuple[str, str]]) -> None:
        self._name, self._scalars, self._buffers = name, scalars, buffers
        self._builder = IRBuilder()
        self._frame = tir.prim_func(s_tir=False)
        self.result: Any = None

    def __enter__(self) -> dict[str, Any]:
        self._builder.__enter__()
        self._frame.__enter__()
        tir.func_name(self._name)
        tir.func_attr({"global_symbol": self._name, "tirx.noalias": True})
        arguments: dict[str, Any] = {name: tir.arg(name, tir.int32()) for name in self._scalars}
        handles = [tir.arg(name, tir.handle()) for name, _ in self._buffers]
        for handle, (name, dtype) in zip(handles, self._buffers, strict=True):
            arguments[name] = tir.match_buffer(handle, (tir.int64(),), dtype, layout=None)
        return {name: i64(value) if name in self._scalars else value for name, value in arguments.items()}

    def __exit__(self, *error: Any) -> None:
        self._frame.__exit__(*error)
        self._builder.__exit__(*error)
        if error[0] is None:
            self.result = self._builder.get()
