import pytest
import torch

from fgq.vggt.attention import Attention, attend
from fgq.vggt.rotary import RotaryTable, patch_positions

HEAD_DIM = 8


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_special_tokens_are_never_turned_and_patches_start_at_one():
    positions = patch_positions(rows=2, columns=3, num_special=2)
    assert positions.tolist() == [[0, 0], [0, 0], [1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]
    x = draw(1, 1, 8, HEAD_DIM)
    turned = RotaryTable(positions, HEAD_DIM).rotate(x)
    assert torch.equal(turned[..., :2, :], x[..., :2, :])
    assert not torch.allclose(turned[..., 2:, :], x[..., 2:, :])


def test_scores_depend_on_relative_position_alone():
    positions = patch_positions(rows=3, columns=4, num_special=0)
    q, k = draw(1, 1, 12, HEAD_DIM), draw(1, 1, 12, HEAD_DIM, seed=1)

    def scores(shift: tuple[int, int]) -> torch.Tensor:
        table = RotaryTable(positions + torch.tensor(shift), HEAD_DIM)
        return table.rotate(q) @ table.rotate(k).transpose(-2, -1)

    for shift in ((5, 0), (0, 7), (3, 2)):
        torch.testing.assert_close(scores(shift), scores((0, 0)), rtol=1e-4, atol=1e-5)
    other = RotaryTable(positions * 2, HEAD_DIM)  # distances that do change must be seen
    assert not torch.allclose(other.rotate(q) @ other.rotate(k).transpose(-2, -1), scores((0, 0)), atol=1e-2)


def test_rotation_equals_complex_multiplication():
    """The independent form: each channel pair (i, i + axis/2) is a complex number times exp(i * position * f)."""
    positions = patch_positions(rows=3, columns=4, num_special=1)
    x = draw(1, 1, 13, HEAD_DIM).double()
    expected = []
    for axis, half in enumerate(x.chunk(2, dim=-1)):
        real, imaginary = half.chunk(2, dim=-1)
        frequency = 100.0 ** -(torch.arange(0, HEAD_DIM // 2, 2, dtype=torch.float64) / (HEAD_DIM // 2))
        turn = torch.polar(torch.ones(13, 2, dtype=torch.float64), positions[:, axis, None] * frequency)
        product = torch.complex(real, imaginary) * turn
        expected.append(torch.cat([product.real, product.imag], dim=-1))
    torch.testing.assert_close(
        RotaryTable(positions, HEAD_DIM).rotate(x), torch.cat(expected, dim=-1), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("tokens", [17, 130])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float64, 1e-12)])
def test_every_kernel_gives_softmax_attention_with_its_gradient(tokens, dtype, tolerance):
    truths = [draw(2, 3, tokens, HEAD_DIM, seed=seed).to(dtype).double().requires_grad_() for seed in range(3)]
    q, k, v = truths
    expected = torch.softmax(q @ k.transpose(-2, -1) / HEAD_DIM**0.5, dim=-1) @ v
    low = [x.detach().to(dtype).requires_grad_() for x in truths]
    found = attend(*low)
    with torch.no_grad():
        without_gradient = attend(*low)
    weight = draw(*found.shape, seed=9)
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(without_gradient.double(), expected, rtol=tolerance, atol=tolerance)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), low),
        torch.autograd.grad((expected * weight).sum(), truths),
        strict=True,
    ):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


def test_attention_equals_torchs_own_module():
    ours = Attention(dim=16, num_heads=2)
    theirs = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.qkv.weight.data, draw(48)
    ours.qkv.bias.data = theirs.in_proj_bias.data
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x = draw(2, 5, 16, seed=3)
    found = ours.proj(ours.mix(*ours.qkv(x).chunk(3, dim=-1), None))
    torch.testing.assert_close(found, theirs(x, x, x, need_weights=False)[0])
