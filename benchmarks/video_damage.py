"""Ways to damage a video file: its bytes and a source of randomness in, other bytes out."""

from collections.abc import Callable
from random import Random

_ENDS = 4096  # bytes at both ends, where most containers have their boxes and indices
_LONGEST_RUN = 2048
_LARGEST_BLOCK = 1 / 4  # of the file
# What counters, sizes and offsets of 32 bits break at.
_NUMBERS = (0, 1, 8, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _place(length: int, draw: Random) -> int:
    """A position; every second one lies at one of the two ends."""
    near = min(_ENDS, length)
    if draw.random() < 0.5:
        return draw.randrange(length)
    return draw.randrange(near) if draw.random() < 0.5 else length - 1 - draw.randrange(near)


def _block(data: bytes, draw: Random) -> tuple[int, int]:
    """Begin and end of a part, short ones as often as long ones."""
    longest = max(1, int(len(data) * _LARGEST_BLOCK))
    length = min(longest, 2 ** draw.randint(0, longest.bit_length()))
    begin = draw.randrange(len(data) - length + 1)
    return begin, begin + length


def _flip_bits(data: bytes, other: bytes, draw: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(2 ** draw.randint(0, 8)):
        damaged[_place(len(damaged), draw)] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def _overwrite(data: bytes, other: bytes, draw: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        begin = _place(len(damaged), draw)
        length = min(draw.randint(1, _LONGEST_RUN), len(damaged) - begin)
        runs = (bytes(length), b"\xff" * length, draw.randbytes(length))
        damaged[begin : begin + length] = draw.choice(runs)
    return bytes(damaged)


def _cut(data: bytes, other: bytes, draw: Random) -> bytes:
    return data[: draw.randint(1, len(data))]


def _remove(data: bytes, other: bytes, draw: Random) -> bytes:
    begin, end = _block(data, draw)
    return data[:begin] + data[end:]


def _duplicate(data: bytes, other: bytes, draw: Random) -> bytes:
    begin, end = _block(data, draw)
    return data[:end] + data[begin:]


def _swap(data: bytes, other: bytes, draw: Random) -> bytes:
    """Two neighbouring parts change places."""
    begin, end = _block(data, draw)
    middle = draw.randint(begin, end)
    return data[:begin] + data[middle:end] + data[begin:middle] + data[end:]


def _numbers(data: bytes, other: bytes, draw: Random) -> bytes:
    """Fields of 32 bits near an end get values at which sizes and counts go wrong."""
    damaged = bytearray(data)
    near = min(_ENDS, len(data))
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(near)
        begin = place if draw.random() < 0.7 else len(data) - 1 - place
        order = draw.choice(("big", "little"))
        value = draw.choice(_NUMBERS).to_bytes(4, "big" if order == "big" else "little")
        damaged[begin : begin + 4] = value[: len(data) - begin]
    return bytes(damaged)


def _splice(data: bytes, other: bytes, draw: Random) -> bytes:
    """The beginning of one file and the end of another one."""
    return data[: draw.randrange(1, len(data) + 1)] + other[draw.randrange(len(other)) :]


DAMAGES: dict[str, Callable[[bytes, bytes, Random], bytes]] = {
    "bits flipped": _flip_bits,
    "runs overwritten": _overwrite,
    "cut short": _cut,
    "block removed": _remove,
    "block doubled": _duplicate,
    "blocks swapped": _swap,
    "numbers of the header": _numbers,
    "two files spliced": _splice,
}


def damage(name: str, data: bytes, other: bytes, draw: Random) -> bytes:
    """The file `data`, of at least one byte, damaged in the way `name`, a key of DAMAGES.

    Args:
      other: a second file, for "two files spliced".
    """
    return DAMAGES[name](data, other, draw)
