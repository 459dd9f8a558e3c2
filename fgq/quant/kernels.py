"""Products of integer codes with exact sums, each checked on this machine before it is believed.

x86 and Hopper multiply eight-bit integers at best; four-bit codes travel in int8. What fits a machine is found by
`available`: a kernel that is missing, refuses its input or sums wrongly here is left out, with a reason in words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Int8, Shaped
from torch import Tensor

WIDEST = 4096  # of the products that are checked: the widest layer of VGGT-1B
CHECKED_ROWS = 32
EXACT_IN_FLOAT32 = 2**24  # whole numbers up to here have a float32 of their own
CUDA_ROWS, CUDA_MULTIPLE = 17, 8  # fewest rows of torch._int_mm on CUDA, and what its sizes are multiples of

Codes = Int8[Tensor, "rows width"]
WeightCodes = Int8[Tensor, "out width"]


@dataclass(frozen=True)
class Kernel:
    """A way to multiply codes [rows, width] with codes [out, width]; sums [rows, out] hold whole numbers exactly.

    `prepare` brings the weight's codes into the form that `multiply` wants, `holds` says whether sums over so many
    products of codes of so many bits are exact, and `bytes_a_code` what a prepared code takes.
    """

    name: str
    prepare: Callable[[WeightCodes], Tensor]
    multiply: Callable[[Codes, Tensor], Tensor]
    holds: Callable[[int, int, int], bool]
    bytes_a_code: int

    def product(self, x: Codes, weight: WeightCodes) -> Shaped[Tensor, "rows out"]:
        return self.multiply(x, self.prepare(weight))


def largest_sum(width: int, weight_bits: int, activation_bits: int) -> int:
    """Of the magnitudes that a sum over `width` products can have."""
    return width * 2 ** (weight_bits - 1) * 2 ** (activation_bits - 1)


def fits_int32(width: int, weight_bits: int, activation_bits: int) -> bool:
    return largest_sum(width, weight_bits, activation_bits) < 2**31


def fits_float32(width: int, weight_bits: int, activation_bits: int) -> bool:
    return largest_sum(width, weight_bits, activation_bits) <= EXACT_IN_FLOAT32


def multiply_int8(x: Codes, weight: WeightCodes) -> Tensor:
    """torch._int_mm, its sizes padded with zeros to what CUDA takes."""
    rows, out = len(x), len(weight)
    if x.is_cuda:
        x, weight = padded(x, max(rows, CUDA_ROWS)), padded(weight, out)
    return torch._int_mm(x, weight.t())[:rows, :out]


def padded(codes: Codes, rows: int) -> Int8[Tensor, "more wider"]:
    more = -(-rows // CUDA_MULTIPLE) * CUDA_MULTIPLE - len(codes), -codes.shape[1] % CUDA_MULTIPLE
    return torch.nn.functional.pad(codes, (0, more[1], 0, more[0])) if any(more) else codes


def multiply_carried(x: Codes, weight: Tensor) -> Tensor:
    """Whole numbers carried by float32, which adds them without loss as long as no sum exceeds 2^24."""
    return x.to(torch.float32) @ weight.t()


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("int8", lambda codes: codes.contiguous(), multiply_int8, fits_int32, 1),
        Kernel("float32", lambda codes: codes.to(torch.float32), multiply_carried, fits_float32, 4),
    )
}


def check(kernel: Kernel, device: torch.device) -> str | None:
    """What is wrong with a kernel here, or None: its sums against those of 64-bit integers.

    Codes lie at the ends of their range, where a product that saturates or overflows on its way shows, and at random.
    """
    generator = torch.Generator().manual_seed(0)
    for weight_bits, activation_bits in ((8, 8), (4, 8), (4, 4)):
        width = WIDEST
        while not kernel.holds(width, weight_bits, activation_bits):
            width //= 2
        for draw in (extreme, random):
            x, weight = (draw(CHECKED_ROWS, width, bits, generator) for bits in (activation_bits, weight_bits))
            true = x.long() @ weight.long().t()
            try:
                found = kernel.product(x.to(device), weight.to(device)).cpu()
            except (RuntimeError, NotImplementedError, AttributeError) as error:
                return f"refuses its input: {str(error).splitlines()[0]}"
            if not torch.equal(found.long(), true):
                return f"sums {width} products of {weight_bits}- and {activation_bits}-bit codes wrongly"
    return None


def extreme(rows: int, width: int, bits: int, generator: torch.Generator) -> Codes:
    """Lowest codes throughout, highest codes throughout, then both in blocks of every length."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    sides = torch.randint(0, 2, (rows, width), generator=generator).bool()
    sides[0], sides[1] = False, True
    for row in range(2, rows // 2):
        sides[row] = (torch.arange(width) // 2 ** (row - 2)) % 2 == 0
    return torch.where(sides, high, low).to(torch.int8)


def random(rows: int, width: int, bits: int, generator: torch.Generator) -> Codes:
    return torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (rows, width), generator=generator).to(torch.int8)


@cache
def findings(device: torch.device) -> dict[str, str | None]:
    """For every kernel what `check` says of it on this device; asked once a process."""
    return {name: check(kernel, device) for name, kernel in KERNELS.items()}


def available(device: torch.device, width: int, weight_bits: int, activation_bits: int) -> list[Kernel]:
    """The kernels that are exact on this device for a layer of that width and those bits; there may be none."""
    sound = [KERNELS[name] for name, fault in findings(torch.device(device)).items() if fault is None]
    return [kernel for kernel in sound if kernel.holds(width, weight_bits, activation_bits)]
