"""How many bits: of one setting such as W4A8, and of every block and layer of a model, stated in one place."""

import re
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

from fgq.errors import FgqError

OFF_BITS = 16  # leave values as they are
BITS = (*range(2, 9), OFF_BITS)
BIT_CHOICES = (2, 3, 4, 6, 8)  # for the weights of a layer, where a budget is dealt


@dataclass(frozen=True, init=False)
class Bits:
    """Bits of weights and of activations: Bits(4, 8) and Bits("W4A8") are equal, and both print as W4A8.

    `weight, activation = Bits("W4A8")`. Where the activations of special tokens (camera and registers) have bits of
    their own, these follow: Bits(4, 4, 8) and Bits("W4A4S8"), which do not unpack; `quantize(..., **bits.fields)`
    takes all. Raises FgqError for another text and for bits outside 2 to 8 and 16.
    """

    weight: int
    activation: int
    special: int | None

    def __init__(self, weight: "int | str | Bits", activation: int | None = None, special: int | None = None):
        if isinstance(weight, Bits):
            weight, activation, special = weight.weight, weight.activation, weight.special
        elif isinstance(weight, str):
            found = re.fullmatch(r"W(\d{1,2})A(\d{1,2})(?:S(\d{1,2}))?", weight)
            if not found or activation is not None or special is not None:
                raise FgqError(
                    f"bits {weight!r}: write them as W4A8, weights first, or W4A4S8 with special tokens' own"
                )
            weight, activation, special = (None if bits is None else int(bits) for bits in found.groups())
        for name, bits in (("weight", weight), ("activation", activation), ("special", special)):
            if name != "special" or bits is not None:
                check_bits(bits)
            object.__setattr__(self, name, bits)

    def __str__(self) -> str:
        return f"W{self.weight}A{self.activation}" + (f"S{self.special}" if self.special is not None else "")

    @property
    def fields(self) -> dict[str, int | None]:
        """Of a recipe that has these bits."""
        named = {"weight_bits": self.weight, "activation_bits": self.activation}
        return named | {"special_activation_bits": self.special}

    def __iter__(self):
        if self.special is not None:
            raise FgqError(f"bits {self} are more than two numbers: pass them on as **Bits(...).fields")
        return iter((self.weight, self.activation))


def check_bits(bits: object) -> None:
    if isinstance(bits, bool) or bits not in BITS:
        raise FgqError(f"{bits} bits: choose 2 to 8, or {OFF_BITS} to leave values unquantized")


Map = TypeVar("Map", bound="BitMap")


@dataclass(frozen=True, kw_only=True)
class BitMap:
    """Bits of everything that is rounded, in one place: of all, and of the layers and blocks that have their own.

    A `bit_budget` of weight bits on average is dealt to the layers by their Fisher; `block_weight_bits` state the deal.
    An `operation_budget` is dealt to weights, patches and special tokens together, and `block_activation_bits` state
    its other half; with both budgets the deal keeps both. Raises FgqError for bits outside 2 to 8 and 16, for a budget
    outside 2 to 8 (or 4 to 64), and for activation bits that are stated twice.
    """

    weight_bits: int = 4  # 2 to 8, or 16 for none; one scale an output channel
    activation_bits: int = 4  # the same; one scale a token, found at run time
    layer_weight_bits: tuple[int, ...] | None = None  # of q/k/v, o, fc1 and fc2 of every block, for weight_bits
    block_weight_bits: tuple | None = None  # of each block in running order: one number, or four as above
    special_activation_bits: int | None = None  # of camera tokens and registers, at their whole range; None: as patches
    site_activation_bits: dict[str, int] | None = field(default=None, hash=False)  # of the sites named, in every block
    layer_activation_bits: tuple | None = None  # in front of q/k/v, o, fc1 and fc2: pairs, of patches and special ones
    block_activation_bits: tuple | None = None  # of each block in running order: four pairs as above
    bit_budget: float | None = None
    operation_budget: float | None = None  # bit-operations a multiplication on average; W4A4 has 16

    def __post_init__(self):
        for own in (*(self.layer_weight_bits or ()), *(self.block_weight_bits or ())):
            for bits in own if isinstance(own, tuple) else (own,):
                check_bits(bits)
        if self.site_activation_bits is not None:  # a copy: whoever gave it may change theirs
            object.__setattr__(self, "site_activation_bits", dict(self.site_activation_bits))
        self.check_activations()
        for name, power in (("bit_budget", 1), ("operation_budget", 2)):
            budget, (low, high) = getattr(self, name), (BIT_CHOICES[end] ** power for end in (0, -1))
            if budget is not None and not low <= budget <= high:
                raise FgqError(f"{name} must lie between {low} and {high}, not {budget!r}")

    def check_activations(self) -> None:
        for bits in (self.special_activation_bits, *(self.site_activation_bits or {}).values()):
            if bits is not None:
                check_bits(bits)
        pairs = [*(self.layer_activation_bits or ()), *chain(*(self.block_activation_bits or ()))]
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise FgqError(
                    f"layer_activation_bits and block_activation_bits hold pairs, of patches and special tokens, not "
                    f"{pair!r}: write (4, 8), or (4, None) where special tokens are as patches"
                )
            check_bits(pair[0])
            if pair[1] is not None:
                check_bits(pair[1])
        stated = [self.special_activation_bits, self.site_activation_bits]
        ways = (any(own is not None for own in stated), bool(self.layer_activation_bits), self.has_activation_deal)
        if sum(ways) > 1:
            raise FgqError(
                "activation bits of their own are stated twice: give special_activation_bits and site_activation_bits, "
                "or layer_activation_bits, or block_activation_bits or an operation_budget that deals them"
            )
        dealt = self.block_weight_bits is None, self.block_activation_bits is None
        if self.operation_budget is not None and dealt[0] != dealt[1]:
            raise FgqError(
                "an operation_budget deals the bits of weights and activations together: state both block_weight_bits "
                "and block_activation_bits, or neither"
            )

    @property
    def has_activation_deal(self) -> bool:
        """Whether blocks have activation bits of their own, or will have."""
        return self.block_activation_bits is not None or self.operation_budget is not None

    @property
    def bits(self) -> Bits:
        """Of what has none of its own."""
        return Bits(self.weight_bits, self.activation_bits, self.special_activation_bits)

    @property
    def rounds_weights(self) -> bool:
        """Whether any layer's weights get codes; of a block's own map (see `of_block`), or of any block."""
        stated = self.block_weight_bits or self.layer_weight_bits or (self.weight_bits,)
        return self.deals_bits or min(min(own) if isinstance(own, tuple) else own for own in stated) < OFF_BITS

    @property
    def rounds_activations(self) -> bool:
        """Whether those of any token are rounded."""
        if self.deals_bits and self.operation_budget is not None:
            return True
        pairs = [*(self.layer_activation_bits or ()), *chain(*(self.block_activation_bits or ()))]
        if pairs:
            return min(chain(*((patches, special or OFF_BITS) for patches, special in pairs))) < OFF_BITS
        own = (self.site_activation_bits or {}).values()
        return min(self.activation_bits, self.special_activation_bits or OFF_BITS, *own) < OFF_BITS

    @property
    def deals_bits(self) -> bool:
        """Whether the bits of its blocks are still to be found."""
        has_budget = self.bit_budget is not None or self.operation_budget is not None
        return has_budget and self.block_weight_bits is None

    def of_block(self: Map, index: int) -> Map:
        """The same with the bits of block number `index` alone."""
        own: dict = {}
        if self.block_activation_bits is not None:
            own |= {"layer_activation_bits": self.block_activation_bits[index], "block_activation_bits": None}
        if self.block_weight_bits is not None:
            bits = self.block_weight_bits[index]
            own |= {"layer_weight_bits": bits} if isinstance(bits, tuple) else {"weight_bits": bits}
            own |= {"block_weight_bits": None, "bit_budget": None}
        return replace(self, operation_budget=None, **own) if own else self
