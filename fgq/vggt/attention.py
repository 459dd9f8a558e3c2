"""The transformer block that VGGT uses everywhere: attention with optional qk-norm and 2-D RoPE, an MLP, LayerScale."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgq.vggt.described import Described
from fgq.vggt.rotary import RotaryTable

# Tokens up to which a CPU takes no longer for a training step by plain products than by the fused kernel.
SHORT_SEQUENCE = {torch.float32: 128, torch.bfloat16: 768}

Tokens = Float[Tensor, "batch tokens channels"]
Heads = Float[Tensor, "batch heads tokens head_dim"]
Keys = Float[Tensor, "batch heads all_tokens head_dim"]  # of all tokens, where queries are of some


def attend(q: Heads, k: Keys, v: Keys) -> Heads:
    """Softmax attention, by the kernel that is fastest here.

    torch's fused kernel never holds the [tokens, tokens] weights and picks its own backend by device and precision
    (flash attention for half precision on a GPU). One thread of a CPU with AVX-512 and AMX needs with it, against plain
    products, for a forward pass 1 to 4 times less (the longer, the more), and for a training step in float32 as much at
    69 tokens and half at 1044. Only training in bf16 takes it longer: 32 ms against 6 at 69 tokens, 44 against 21 at
    522, but 99 against 126 at 1044.
    """
    learns = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    if v.device.type == "cpu" and learns and q.shape[-2] <= SHORT_SEQUENCE.get(v.dtype, 0):
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        return weights.softmax(dim=-1) @ v
    return functional.scaled_dot_product_attention(q, k, v)


def attend_apart(
    q: Float[Tensor, "1 heads tokens head_dim"],
    k: Float[Tensor, "1 heads tokens head_dim"],
    v: Float[Tensor, "1 heads tokens head_dim"],
    lengths: tuple[int, ...],
) -> Float[Tensor, "1 heads tokens head_dim"]:
    """`attend` within each of several sequences that lie one after another; neighbours of one length run together."""
    mixed, start = [], 0
    for length, same in groupby(lengths):
        count = len(list(same))
        rows = slice(start, start + count * length)
        batch = (x[0, :, rows].unflatten(1, (count, length)).transpose(0, 1) for x in (q, k, v))
        mixed.append(attend(*batch).transpose(0, 1).flatten(1, 2))
        start = rows.stop
    return torch.cat(mixed, dim=1)[None]


def join_heads(x: Heads) -> Tokens:
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, qk_norm: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def split_heads(self, x: Tokens) -> Heads:
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def mix(self, q: Tokens, k: Tokens, v: Tokens, rotary: RotaryTable | None) -> Tokens:
        """Everything between the projections."""
        heads = self.placed_heads(q, k, v, rotary)
        apart = rotary is not None and rotary.lengths is not None
        return join_heads(attend_apart(*heads, rotary.lengths) if apart else attend(*heads))

    def placed_heads(self, q: Tokens, k: Tokens, v: Tokens, rotary: RotaryTable | None) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values as they meet: normalised, turned to their positions, in one precision."""
        q, k, v = self.split_heads(q), self.split_heads(k), self.split_heads(v)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = rotary.rotate(q), rotary.rotate(k)
        return q.to(v.dtype), k.to(v.dtype), v


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int, out: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows out"]:
        return self.fc2(functional.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch."""

    def __init__(self, dim: int, initial: float):
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        return x * self.gamma


class Assembled:
    """A tensor whose parts along an axis come one after another, without a moment that holds all of them twice."""

    def __init__(self, length: int, axis: int = 0):
        self.length, self.axis, self.filled = length, axis, 0
        self.values: Tensor | None = None

    def append(self, part: Tensor) -> None:
        count = part.shape[self.axis]
        if count == self.length:
            self.values = part
            return
        if self.values is None:  # only the first part knows shape and precision
            shape = list(part.shape)
            shape[self.axis] = self.length
            self.values = part.new_empty(shape)
        self.values.narrow(self.axis, self.filled, count).copy_(part)
        self.filled += count


LINEARS = {"attn.qkv": 3, "attn.proj": 1, "mlp.fc1": 1, "mlp.fc2": 1}  # of a block: projections stacked in its weight

# Applies the linear layer of that path to its input [batch, tokens, width]: one output a projection.
ApplyLinear = Callable[[str, Tensor], Sequence[Tensor]]


class Block(Described):
    """Pre-norm transformer block: x + ls1(attn(norm1(x))), then x + ls2(mlp(norm2(x)))."""

    def __init__(self, dim: int, num_heads: int, qk_norm: bool = False, layer_scale: float = 0.01, eps: float = 1e-5):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads, qk_norm)
        self.ls1 = LayerScale(dim, layer_scale)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, 4 * dim, dim)
        self.ls2 = LayerScale(dim, layer_scale)

    def forward(
        self, x: Tokens, rotary: RotaryTable | None = None, parts: Sequence[RotaryTable] | None = None
    ) -> Tokens:
        """`parts` are tables of parts of a long sequence, one after another: see `run_in_parts`."""
        if parts is not None:
            return self.run_in_parts(x, parts)
        return self.run(x, rotary, partial(self.apply_linear, rotary=rotary))

    def run(self, x: Tokens, rotary: RotaryTable | None, linear: ApplyLinear) -> Tokens:
        """The forward pass of every kind of block, with its linear layers applied by `linear`.

        Whoever quantizes, learns or watches a block says how its layers are applied, and nothing else.
        """
        return self.finish(x, self.attn.mix(*linear("attn.qkv", self.norm1(x)), rotary), linear)

    def finish(self, x: Tokens, mixed: Tokens, linear: ApplyLinear) -> Tokens:
        """Everything behind the attention: no token looks at another there."""
        x = x + self.ls1(linear("attn.proj", mixed)[0])
        return x + self.ls2(linear("mlp.fc2", functional.gelu(linear("mlp.fc1", self.norm2(x))[0]))[0])

    def run_in_parts(self, x: Tokens, parts: Sequence[RotaryTable]) -> Tokens:
        """The same, part by part: of the whole sequence there are only the input, q, k, v and the output at once.

        That is half of what `run` holds; products over other numbers of rows may round otherwise.
        """
        lengths = [rotary.num_tokens for rotary in parts]
        linears = [partial(self.apply_linear, rotary=rotary) for rotary in parts]
        heads = Assembled(x.shape[1], axis=2), Assembled(x.shape[1], axis=2), Assembled(x.shape[1], axis=2)
        for tokens, rotary, linear in zip(x.split(lengths, dim=1), parts, linears, strict=True):
            placed = self.attn.placed_heads(*linear("attn.qkv", self.norm1(tokens)), rotary)
            for whole, part in zip(heads, placed, strict=True):
                whole.append(part)
        q, k, v = (whole.values for whole in heads)
        output = Assembled(x.shape[1], axis=1)
        for tokens, queries, linear in zip(x.split(lengths, dim=1), q.split(lengths, dim=2), linears, strict=True):
            output.append(self.finish(tokens, join_heads(attend(queries, k, v)), linear))
        return output.values

    def apply_linear(
        self, path: str, x: Float[Tensor, "batch tokens width"], rotary: RotaryTable | None = None
    ) -> Sequence[Float[Tensor, "batch tokens _"]]:
        return self.multiply(path, self.prepare(path, x), rotary)

    def prepare(self, path: str, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The input of a linear layer as the layer takes it."""
        return x

    def multiply(
        self, path: str, x: Float[Tensor, "batch tokens width"], rotary: RotaryTable | None = None
    ) -> Sequence[Float[Tensor, "batch tokens _"]]:
        """The linear layer on its prepared input; `rotary` says where in the sequence the special tokens lie."""
        return projections(path, self.get_submodule(path)(x))


def projections(path: str, out: Float[Tensor, "batch tokens out"]) -> Sequence[Float[Tensor, "batch tokens _"]]:
    """The output of the linear layer of that path, cut into those of the matrices stacked in its weight."""
    return (out,) if LINEARS[path] == 1 else out.chunk(LINEARS[path], dim=-1)
