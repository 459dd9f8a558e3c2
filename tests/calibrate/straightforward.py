"""The slow twin: the published calibration of a block (arXiv:2605.15828, 2410.09426) as one writes it down at first.

One clip after the other, although a step holds several. Every linear layer stands alone: it transforms, clips and
rounds its own input and its own weight, q, k and v included, and each use of a matrix computes it anew from its
parameters. Rounding is a chain of elementary operations whose gradient autograd finds, with the detached difference as
its straight-through part. Nothing of fgq.affine, fgq.quant or fgq.calibrate computes anything here.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgq.vggt.attention import Block
from fgq.vggt.rotary import RotaryTable

Tokens = Float[Tensor, "batch tokens channels"]
START = 4.0  # of the clipping logits


class Rotation(nn.Module):
    """An orthogonal matrix by torch's own Cayley map, which solves a linear system whenever `weight` is read."""

    def __init__(self, free: Tensor):
        super().__init__()
        self.weight = nn.Parameter(free.clone())
        nn.utils.parametrizations.orthogonal(self, orthogonal_map="cayley", use_trivialization=False)
        with torch.no_grad():
            self.parametrizations.weight.original.copy_(free)  # which registering has made orthogonal


class Matrix(nn.Module):
    """U diag(s) Vᵀ with orthogonal U and V."""

    def __init__(self, u: Tensor, v: Tensor):
        super().__init__()
        self.u, self.v = Rotation(u), Rotation(v)
        self.stretch = nn.Parameter(torch.ones(len(u)))

    def matrix(self) -> Float[Tensor, "size size"]:
        return self.u.weight @ torch.diag(self.stretch) @ self.v.weight.T

    def inverse_transpose(self) -> Float[Tensor, "size size"]:
        return self.u.weight @ torch.diag(1 / self.stretch) @ self.v.weight.T


def times_kronecker(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    grid = x.reshape(-1, len(left), len(right))
    return (left.T @ (grid @ right)).reshape(x.shape)


class Transform(nn.Module):
    """(x ⊙ d)(P₁ ⊗ P₂), and its inverse for weights."""

    def __init__(self, left: Matrix, right: Matrix, diagonal: Tensor | None):
        super().__init__()
        self.left, self.right = left, right
        self.diagonal = None if diagonal is None else nn.Parameter(diagonal.clone())

    def forward(self, x: Tensor) -> Tensor:
        return times_kronecker(x * self.diagonal, self.left.matrix(), self.right.matrix())

    def of_weight(self, weight: Tensor) -> Tensor:
        if self.diagonal is not None:
            weight = weight / self.diagonal
        return times_kronecker(weight, self.left.inverse_transpose(), self.right.inverse_transpose())


def round_straight_through(x: Tensor, scale: Tensor, bits: int) -> Tensor:
    ratio = x / scale
    codes = (ratio.round() - ratio).detach() + ratio
    return codes.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale


class Linear(nn.Module):
    """One linear layer with its own clips: a pair of logits (low, high) a row of the weight, and one for its input."""

    def __init__(self, weight: Tensor, bias: Tensor, weight_bits: int, activation_bits: int):
        super().__init__()
        self.weight, self.bias = weight, bias
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.weight_low = nn.Parameter(torch.full((len(weight), 1), START))
        self.weight_high = nn.Parameter(torch.full((len(weight), 1), START))
        self.input_low, self.input_high = nn.Parameter(torch.tensor(START)), nn.Parameter(torch.tensor(START))

    def clipped(self, weight: Tensor) -> Tensor:
        low = weight.amin(1, keepdim=True) * torch.sigmoid(self.weight_low)
        high = weight.amax(1, keepdim=True) * torch.sigmoid(self.weight_high)
        return torch.clamp(weight, low, high)

    def rounded_weight(self, weight: Tensor) -> Tensor:
        low, high = weight.amin(1, keepdim=True).clamp(max=0), weight.amax(1, keepdim=True).clamp(min=0)
        scale = torch.maximum(-low, high).clamp(min=1e-5) / (2 ** (self.weight_bits - 1) - 1)
        return round_straight_through(weight, scale, self.weight_bits)

    def rounded_input(self, x: Tensor) -> Tensor:
        low = x.amin(-1, keepdim=True).clamp(max=0) * torch.sigmoid(self.input_low)
        high = x.amax(-1, keepdim=True).clamp(min=0) * torch.sigmoid(self.input_high)
        extent = torch.maximum(-low, high)
        scale = torch.where(extent == 0, 1.0, extent / (2 ** (self.activation_bits - 1) - 1))
        return round_straight_through(x, scale, self.activation_bits)

    def forward(self, x: Tensor, inverse, output: Matrix | None = None) -> Tensor:
        """`inverse` transforms the weight; `output` mixes what the layer puts out within each head."""
        weight, bias = self.clipped(inverse(self.weight)), self.bias
        if output is not None:
            per_head = weight.unflatten(0, (-1, len(output.stretch)))
            weight = (output.matrix().T @ per_head).flatten(0, 1)
            bias = (bias.unflatten(0, (-1, len(output.stretch))) @ output.matrix()).flatten()
        return functional.linear(self.rounded_input(x), self.rounded_weight(weight), bias)


class StraightforwardBlock(nn.Module):
    """The block that learns. `start` holds a LearnableBlock's first state, of which transforms are copied."""

    def __init__(self, block: Block, start: dict[str, Tensor], weight_bits: int, activation_bits: int):
        super().__init__()
        self.block = block
        bits = weight_bits, activation_bits
        stacked = zip(block.attn.qkv.weight.detach().chunk(3), block.attn.qkv.bias.detach().chunk(3), strict=True)
        self.q, self.k, self.v = (Linear(weight, bias, *bits) for weight, bias in stacked)
        plain = block.attn.proj, block.mlp.fc1, block.mlp.fc2
        self.o, self.fc1, self.fc2 = (Linear(layer.weight.detach(), layer.bias.detach(), *bits) for layer in plain)

        def transform(site: str) -> Transform:
            name = f"transforms.{site}"
            left, right = Matrix(*start[f"{name}.left.free"]), Matrix(*start[f"{name}.right.free"])
            return Transform(left, right, start.get(f"{name}.diagonal"))

        self.attn_in, self.attn_out = transform("attn_in"), transform("attn_out")
        self.fc1_in, self.fc2_in = transform("fc1_in"), transform("fc2_in")

    def learnable(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of the transforms, and of the clips."""
        transforms = [self.attn_in, self.attn_out, self.fc1_in, self.fc2_in]
        layers = [self.q, self.k, self.v, self.o, self.fc1, self.fc2]
        return tuple([p for part in parts for p in part.parameters()] for parts in (transforms, layers))

    def attention(self, x: Tokens, rotary: RotaryTable | None) -> Tokens:
        attn, inverse = self.block.attn, self.attn_in.of_weight

        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)

        q = attn.q_norm(heads(self.q(self.attn_in(x), inverse)))
        k = attn.k_norm(heads(self.k(self.attn_in(x), inverse)))
        v = heads(self.v(self.attn_in(x), inverse, self.attn_out.right))
        if rotary is not None:
            q, k = rotary.rotate(q), rotary.rotate(k)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)  # [batch, tokens, heads, head_dim]
        mixed = (self.attn_out.left.matrix().T @ mixed).flatten(2)
        return self.o(mixed, self.attn_out.of_weight)

    def forward(self, x: Tokens, rotary: RotaryTable | None = None) -> Tokens:
        block = self.block
        x = x + block.ls1(self.attention(block.norm1(x), rotary))
        hidden = functional.gelu(self.fc1(self.fc1_in(block.norm2(x)), self.fc1_in.of_weight))
        return x + block.ls2(self.fc2(self.fc2_in(hidden), self.fc2_in.of_weight))


def weighted_loss(output: Tensor, target: Tensor, weights: Float[Tensor, " channels"]) -> Float[Tensor, ""]:
    return ((output - target) ** 2 * weights).mean()


def separate_clips(tokens: Float[Tensor, "clips frames tokens channels"], name: str) -> list[Tokens]:
    """Clips as a block takes them: kind "F" reads each frame alone, "G" all frames as one sequence."""
    return list(tokens) if name.startswith("F") else [clip.flatten(0, 1)[None] for clip in tokens]


def calibrate_straightforwardly(
    block: StraightforwardBlock,
    clips: list[Tokens],
    targets: list[Tokens],
    rotary: RotaryTable | None,
    weights: Float[Tensor, " channels"],
    epochs: int,
    scenes_per_step: int = 2,
    rate: float = 5e-3,
    warmup: int = 16,
) -> tuple[list[float], float]:
    """Trains the block in place, as the release does. The loss of every step, and the mean loss afterwards."""
    transforms, clipping = block.learnable()
    optimiser = torch.optim.AdamW([{"params": transforms, "lr": rate}, {"params": clipping, "lr": 10 * rate}])
    total = epochs * math.ceil(len(clips) / scenes_per_step)

    def share(step: int) -> float:
        cosine = 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * step / total)) / 2
        return cosine * min(1.0, 0.01 + 0.99 * step / warmup)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
    losses = []
    for _ in range(epochs):
        for start in range(0, len(clips), scenes_per_step):
            batch = range(start, min(start + scenes_per_step, len(clips)))
            loss = 0.0
            for clip in batch:
                loss = loss + weighted_loss(block(clips[clip], rotary), targets[clip], weights)
            loss = loss / len(batch)
            losses.append(loss.item())
            optimiser.zero_grad()
            (loss / loss.detach()).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        pairs = zip(clips, targets, strict=True)
        ends = [weighted_loss(block(clip, rotary), target, weights).item() for clip, target in pairs]
    return losses, sum(ends) / len(ends)
