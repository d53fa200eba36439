"""Reads dicts of NumPy arrays from pickle files, without running anything that stands in them.

A pickle is a program. This module does not use Python's unpickler but an interpreter of its own,
which knows only the instructions that a dict of number arrays is written with. What would be
imported and called is only a name here: nothing is imported, nothing called. The arrays are
views of the bytes in the file: a shape that asks for more memory is refused, not tried.
"""

import dataclasses
import io
import math
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline.errors import DataError

MAX_FILE_BYTES = 16 * 2**20  # ten times the largest file known
_MAX_INSTRUCTIONS = 4_000_000  # twelve times as many as it has; each may take about 100 bytes
_MAX_DIMENSIONS = 32
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_DTYPE = re.compile("b1|[iu][1248]|f[248]")

# Both module names: NumPy 2 renamed numpy.core to numpy._core.
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_FROM_BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_NAMES = (*_RECONSTRUCT, *_FROM_BUFFER, "numpy.ndarray", "numpy.dtype", "_codecs.encode")

_LITERALS = (
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("SHORT_BINSTRING", "BINSTRING"),
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Refused(Exception):
    """The file asks for something that a dict of number arrays has no need of."""


@dataclasses.dataclass(frozen=True)
class _Name:
    """What the file would import; only ever compared with the names known here."""

    name: str


@dataclasses.dataclass
class _Dtype:
    """A number type, e.g. "i8", whose byte order a BUILD instruction sets."""

    code: str
    order: str = "="


@dataclasses.dataclass
class _Array:
    """An array whose content comes with a BUILD instruction."""

    array: np.ndarray | None = None


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a pickled dict from names to arrays, of Python 2 or 3, protocol 2 to 5.

    Arrays of booleans, integers and floats are read, with any shape and byte order. They cannot
    be written to.

    Raises:
      DataError: the file is too large, is damaged, or holds anything else; what it would have
        imported is named.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(f"{path}: has {size} bytes; at most {MAX_FILE_BYTES} are read")
    reader = _Reader(path.read_bytes())
    try:
        return _checked(reader.read())
    except _Refused as error:
        raise DataError(
            f"{path}: byte {reader.position}: {error}. Only a dict of NumPy number arrays is read; "
            "nothing in this file was run. Download it again from where it is published"
        ) from error
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: byte {reader.position}: is no pickle, or is damaged or cut off "
            f"({error}); download it again"
        ) from error


class _Reader:
    """Interprets a pickle. Damage shows as ValueError, IndexError, KeyError or TypeError."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks beneath each mark
        self._memo: dict[int, Any] = {}
        self._encodable = len(data)  # bytes that may still be made from text
        self._instructions = 0
        self.position = 0  # of the instruction being read

    def read(self) -> object:
        """The object in the file, its arrays still being `_Array`."""
        instruction, version = self._next()
        if instruction != "PROTO" or not 2 <= version <= 5:
            raise _Refused("is no pickle of protocol 2 to 5")
        instruction, argument = self._next()
        while instruction != "STOP":
            self._do(instruction, argument)
            instruction, argument = self._next()
        if self._stream.read(1):
            raise _Refused("something follows the end of the first object")
        return self._stack.pop()

    def _next(self) -> tuple[str, Any]:
        self.position = self._stream.tell()
        self._instructions += 1
        if self._instructions > _MAX_INSTRUCTIONS:
            raise _Refused(f"has more than {_MAX_INSTRUCTIONS} instructions")
        code = self._stream.read(1).decode("latin-1")
        if not code:
            raise ValueError("it ends too early")
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise ValueError(f"there is no instruction {code!r}")
        return opcode.name, opcode.arg.reader(self._stream) if opcode.arg else None

    def _do(self, instruction: str, argument: Any) -> None:
        stack = self._stack
        if instruction in _LITERALS:
            stack.append(argument)
        elif instruction in _CONSTANTS:
            stack.append(_CONSTANTS[instruction])
        elif instruction == "EMPTY_DICT":
            stack.append({})
        elif instruction in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[instruction])]
            stack.append(tuple(reversed(items)))
        elif instruction == "MARK":
            self._below.append(stack)
            self._stack = []
        elif instruction == "TUPLE":
            self._stack = self._below.pop()
            self._stack.append(tuple(stack))
        elif instruction == "SETITEMS":
            self._stack = self._below.pop()
            _set_items(self._stack[-1], stack)
        elif instruction == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set_items(stack[-1], [key, value])
        elif instruction in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif instruction in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif instruction == "GLOBAL":
            stack.append(_name(*argument.split(" ", 1)))
        elif instruction == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(_name(module, name))
        elif instruction == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._stand_in(function, arguments))
        elif instruction == "BUILD":
            state = stack.pop()
            self._build(stack[-1], state)
        elif instruction != "FRAME":
            raise _Refused(f"uses the instruction {instruction}")

    def _stand_in(self, function: object, arguments: Any) -> object:
        """What stands for the result of a call."""
        name = function.name if isinstance(function, _Name) else ""
        if name in _RECONSTRUCT:
            return _Array()
        if name in _FROM_BUFFER:
            data, dtype, shape, order = arguments
            return _Array(_array(data, dtype, shape, order == "F"))
        if name == "numpy.dtype":
            return _Dtype(_dtype_code(arguments[0]))
        if name == "_codecs.encode":
            text, encoding = arguments
            if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
                raise _Refused("calls _codecs.encode for something else than bytes")
            return self._encode(text)
        raise _Refused(f"calls {name or 'an object'}")

    def _build(self, target: object, state: Any) -> None:
        """Sets the byte order of a dtype, or the content of an array, to its pickled state."""
        if isinstance(target, _Dtype):
            _, order, subdtype, names, fields = state[:5]
            if not isinstance(order, str) or order not in ("<", ">", "|", "="):
                raise _Refused("a dtype has no byte order")
            if subdtype is not None or names is not None or fields is not None:
                raise _Refused("a dtype has fields")
            target.order = order
        elif isinstance(target, _Array):
            _, shape, dtype, fortran, data = state
            if isinstance(data, str):  # as Python 2 writes bytes
                data = self._encode(data)
            target.array = _array(data, dtype, shape, fortran in (True, 1))
        else:
            raise _Refused("sets the state of something that is no array")

    def _encode(self, text: str) -> bytes:
        """Bytes that were written as text; all of them together fit into the file."""
        self._encodable -= len(text)
        if self._encodable < 0:
            raise _Refused("makes more bytes than the file holds")
        return text.encode("latin-1")


def _checked(content: object) -> dict[str, np.ndarray]:
    if not isinstance(content, dict):
        raise _Refused("holds no dict")
    arrays = {}
    for name, value in content.items():
        if not isinstance(value, _Array) or value.array is None:
            raise _Refused(f"the value of {name[:100]!r} is no array")
        arrays[name] = value.array
    return arrays


def _name(module: object, name: object) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise _Refused("imports something that is no name")
    full = f"{module}.{name}"
    if full not in _NAMES:
        raise _Refused(f"would import {full[:100]!r}")
    return _Name(full)


def _set_items(target: object, items: list[Any]) -> None:
    if not isinstance(target, dict):
        raise _Refused("sets an item of something that is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Asked before the key is hashed: hashing tuples nested deeply takes forever.
        if not isinstance(key, str):
            raise _Refused("a key of the dict is no text")
        if key in target:
            raise _Refused(f"the key {key[:100]!r} stands twice")
        target[key] = value


def _dtype_code(code: object) -> str:
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        shown = repr(code[:20]) if isinstance(code, str) else "that is no text"
        raise _Refused(f"an array has the dtype {shown}; only numbers are read, no objects or text")
    return code


def _array(data: Any, dtype: object, shape: Any, fortran: bool) -> np.ndarray:
    """A view of `data` in that shape, which must be exactly as large."""
    if not isinstance(data, bytes | bytearray):
        raise _Refused("an array has objects for data")
    if not isinstance(dtype, _Dtype):
        raise _Refused("an array has no dtype")
    if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise _Refused(f"an array's shape is no tuple of at most {_MAX_DIMENSIONS} sizes")
    if not all(type(size) is int and 0 <= size <= MAX_FILE_BYTES for size in shape):
        raise _Refused(f"an array's shape has a size that is not within 0 and {MAX_FILE_BYTES}")
    number = np.dtype(dtype.order + dtype.code)
    if math.prod(shape) * number.itemsize != len(data):
        raise _Refused(f"an array of shape {shape} and {number} has {len(data)} bytes of data")
    array = np.frombuffer(data, number).reshape(shape, order="F" if fortran else "C")
    array.flags.writeable = False
    return array
