"""A quantized linear layer whose codes stay packed in memory and are unpacked as it multiplies."""

import copy
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.errors import FgqError
from fgq.quant.linear import QuantizedLinear, multipliers
from fgq.quant.packing import PackedCodes, num_words, unpack_codes


class PackedLinear(QuantizedLinear):
    """`weight_packed` [out, words] int32 in place of codes: `bits` bits a weight, with no gaps but at a row's end.

    Names and layout are those of compressed-tensors' pack-quantized: `weight_scale` [out, groups], `weight_shape` [2]
    and, of an asymmetric grid, `weight_zero_point` [words, groups], packed down the columns. Outputs are those of the
    unpacked layer, to the bit on one machine: what is multiplied is the same matrix, unpacked some rows at a time.
    """

    def reserve(self) -> None:
        out, width, bits = self.out_features, self.in_features, self.weight_grid.bits
        groups = self.weight_grid.num_groups(width)
        self.register_buffer("weight_packed", torch.zeros(out, num_words(width, bits), dtype=torch.int32))
        self.register_buffer("weight_scale", torch.ones(out, groups))
        self.register_buffer("weight_shape", torch.tensor([out, width]))
        if not self.weight_grid.symmetric:
            self.register_buffer("weight_zero_point", torch.zeros(num_words(out, bits), groups, dtype=torch.int32))

    @classmethod
    def like(cls, layer: QuantizedLinear) -> "PackedLinear":
        """An empty one. Raises FgqError for a layer that has no codes."""
        if layer.weight_grid.is_off:
            raise FgqError("a layer whose weights are not quantized has no codes to pack")
        return copy_as(cls, layer)

    @classmethod
    def of(cls, layer: QuantizedLinear) -> "PackedLinear":
        """The same layer. Raises FgqError for codes that do not fit into the grid's bits."""
        packed = cls.like(layer)
        packed.load_state_dict(layer.packed_state(), assign=True)
        return packed

    def unpacked(self) -> QuantizedLinear:
        """The same layer with a byte a code."""
        layer = copy_as(QuantizedLinear, self)
        layer.keep(*self.kept())
        layer.bias, layer.clip = self.bias, self.clip
        return layer

    @property
    def packed(self) -> PackedCodes:
        """Codes as they lie in memory."""
        return PackedCodes(self.weight_packed, self.weight_grid.bits, self.in_features)

    @property
    def codes(self) -> Tensor:
        return self.packed.codes()

    @property
    def scale(self) -> Tensor:
        return self.weight_scale

    @property
    def zero(self) -> Tensor:
        """Zero points [out, groups] int8, less 2^(bits - 1) as the codes."""
        columns = self.weight_zero_point.T.contiguous()
        return unpack_codes(columns, self.weight_grid.bits, self.out_features).T.contiguous()

    def keep(self, codes: Tensor, scale: Tensor, zero: Tensor | None) -> None:
        raise FgqError("packed codes stay as they are: round the unpacked layer, and pack it then")

    def multipliers(self, dtype: torch.dtype) -> Float[Tensor, "out width"]:
        found = self.bias.new_empty(self.out_features, self.in_features, dtype=dtype)
        zero = None if self.weight_grid.symmetric else self.zero
        for rows in self.packed.runs():
            of_rows = self.packed.codes(rows), self.scale[rows], None if zero is None else zero[rows]
            found[rows] = multipliers(*of_rows, self.weight_grid, dtype)
        return found

    def packed_state(self) -> dict[str, Tensor]:
        return self.state_dict()

    def check(self) -> None:
        """Raises FgqError for a state that was loaded from a file and is of another shape than it says, or type."""
        stated, own = self.weight_shape.tolist(), [self.out_features, self.in_features]
        if stated != own:
            raise FgqError(f"weight_shape is {stated}, the model has {own}")
        for name, kind in (("weight_packed", torch.int32), ("weight_zero_point", torch.int32)):
            found = getattr(self, name, None)
            if found is not None and found.dtype != kind:
                raise FgqError(f"{name} is of type {found.dtype}, not {kind}")


def copy_as(kind: type[QuantizedLinear], layer: QuantizedLinear) -> QuantizedLinear:
    """An empty layer of the same sizes, grids, device and type of weights."""
    with torch.device(layer.bias.device):
        sizes = layer.in_features, layer.out_features, layer.weight_grid, layer.activation_grid
        made = kind(*sizes, len(layer.clip.table), layer.special_grid)
    return made.to(layer.bias.dtype).train(layer.training)


def quantized_layers(module: nn.Module) -> Iterator[tuple[str, QuantizedLinear]]:
    """Layers that have codes, packed or not, by their paths."""
    for path, layer in module.named_modules():
        if isinstance(layer, QuantizedLinear) and not layer.weight_grid.is_off:
            yield path, layer


def pack_layers(module: nn.Module) -> nn.Module:
    """The same module with packed layers wherever there are codes; every other tensor is shared with the first.

    Raises FgqError, naming the layer, for codes that do not fit into its grid's bits.
    """
    return exchanged(module, lambda layer: layer if isinstance(layer, PackedLinear) else PackedLinear.of(layer))


def unpack_layers(module: nn.Module) -> nn.Module:
    """The inverse of `pack_layers`: a byte a code takes more memory, and saves the unpacking."""
    return exchanged(module, lambda layer: layer.unpacked() if isinstance(layer, PackedLinear) else layer)


def exchanged(module: nn.Module, change: Callable[[QuantizedLinear], QuantizedLinear]) -> nn.Module:
    made: dict[int, object] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    for path, layer in quantized_layers(module):
        try:
            made[id(layer)] = change(layer)
        except FgqError as error:
            raise FgqError(f"{path}: {error}") from error
    return copy.deepcopy(module, memo=made)
