"""Codes of 2 to 8 bits in 32-bit words without gaps: the layout that compressed-tensors calls pack-quantized.

Every code is raised by 2^(bits - 1), so that -8 … 7 become 0 … 15. A row's codes then follow one another from the
lowest bit of its first word upwards. One may reach over into the next word, and the last word is filled up with zeros:
[-8, -7, -1, 0, 1, 2, 3, 7] in 4 bits is the word 0xfba98710.

Eight codes fill `bits` whole bytes. As one number of 64 bits they are moved apart to a byte each, or together, in three
steps: by halves, quarters and eighths, each a mask and a shift over all of them at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Int8, Int32, UInt8
from torch import Tensor
from torch.nn.functional import pad

from fgq.errors import FgqError

WIDTHS = range(2, 9)  # bits of a code
EIGHT = 8  # codes that fill whole bytes, and bits of a byte
WORD = 4  # bytes
AT_ONCE = 1 << 20  # codes: what is made on the way takes ten bytes a code and should stay in a cache


@dataclass(frozen=True)
class PackedCodes:
    """Codes [rows, width] of so many bits in words [rows, ceil(width * bits / 32)]."""

    words: Int32[Tensor, "rows words"]
    bits: int
    width: int

    def codes(self, rows: slice = slice(None)) -> Int8[Tensor, "some width"]:
        """Of some rows, from -2^(bits - 1) to 2^(bits - 1) - 1."""
        return unpack_codes(self.words[rows], self.bits, self.width)

    def runs(self) -> Iterator[slice]:
        """All rows, as many at a time as can be unpacked without much memory."""
        rows = max(1, AT_ONCE // max(1, self.width))
        yield from (slice(start, start + rows) for start in range(0, len(self.words), rows))


def num_words(width: int, bits: int) -> int:
    """Of a row of so many codes."""
    return -(-width * bits // (EIGHT * WORD))


def pack_codes(codes: Int8[Tensor, "rows width"], bits: int) -> Int32[Tensor, "rows words"]:
    """Raises FgqError for bits that are none of 2 to 8, and for a code that does not fit into them."""
    check_width(bits)
    rows, width = codes.shape
    offset = 1 << (bits - 1)
    if codes.numel():
        low, high = (int(end) for end in codes.aminmax())
        if low < -offset or high >= offset:
            raise FgqError(
                f"codes from {low} to {high} do not fit {bits} bits, which hold {-offset} to {offset - 1}: the grid "
                "states other bits than its codes have"
            )
    raised = codes.view(torch.uint8) + offset  # modulo 256
    groups = -(-width // EIGHT)
    eights = fitted(raised, groups * EIGHT).view(torch.int64)
    for low, high, shift in reversed(moves(bits)):
        eights = (eights & low) | ((eights >> shift) & high)
    packed = eights.view(torch.uint8).view(rows, groups, EIGHT)[..., :bits].reshape(rows, groups * bits)
    # The bytes of the last eight codes may end before the last word or, where they are fewer than eight, behind it.
    return fitted(packed, WORD * num_words(width, bits)).view(torch.int32)


def unpack_codes(words: Int32[Tensor, "rows words"], bits: int, width: int) -> Int8[Tensor, "rows width"]:
    """The inverse of `pack_codes`; raises FgqError for bits that are none of 2 to 8 and another number of words."""
    check_width(bits)
    needed = num_words(width, bits)
    if words.shape[1] != needed:
        raise FgqError(f"{words.shape[1]} words a row hold no {width} codes of {bits} bits: {needed} do")
    rows, groups = len(words), -(-width // EIGHT)
    packed = fitted(words.contiguous().view(torch.uint8), groups * bits)
    eights = pad(packed.view(rows, groups, bits), (0, EIGHT - bits)).view(torch.int64)
    for low, high, shift in moves(bits):
        moved = (eights & high).bitwise_left_shift_(shift)
        eights = (eights & low).bitwise_or_(moved)
    codes = eights.view(torch.uint8).view(rows, groups * EIGHT)
    return codes.sub_(1 << (bits - 1)).view(torch.int8)[:, :width]


def fitted(values: UInt8[Tensor, "rows some"], size: int) -> UInt8[Tensor, "rows size"]:
    """Cut short, or filled up with zeros."""
    missing = size - values.shape[1]
    return pad(values, (0, missing)) if missing > 0 else values[:, :size].clone(memory_format=torch.contiguous_format)


@cache
def moves(bits: int) -> list[tuple[int, int, int]]:
    """Of eights, fours and twos of codes: what stays, what moves, and how far up.

    8 bits need none. Masks repeat in each lane of as many bytes as the lane will hold codes.
    """
    found = []
    for half in (4, 2, 1) if bits < EIGHT else ():
        stays = (1 << half * bits) - 1
        lanes = range(0, 64, 2 * half * EIGHT)
        low, high = (sum(mask << lane for lane in lanes) for mask in (stays, stays << half * bits))
        found.append((low, high, half * (EIGHT - bits)))
    return found


def check_width(bits: int) -> None:
    if bits not in WIDTHS:
        raise FgqError(f"codes of {bits} bits are not packed: choose {WIDTHS[0]} to {WIDTHS[-1]}")
