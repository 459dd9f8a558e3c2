import torch

from fgq.quant.product import MultiplyParts


def values(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def test_it_is_the_linear_layer_of_every_part_with_contiguous_gradients():
    x, weight, bias = values(3, 7, 5, seed=0), values(3, 4, 5, seed=1), values(3, 1, 4, seed=2)
    found = MultiplyParts.apply(x, weight, bias)
    for part in range(3):
        assert torch.allclose(found[part], torch.nn.functional.linear(x[part], weight[part], bias[part, 0]))
    assert torch.autograd.gradcheck(MultiplyParts.apply, (x, weight, bias))
    assert torch.autograd.grad(found.sum(), weight)[0].is_contiguous()


def test_under_autocast_gradients_keep_the_precision_of_what_they_belong_to():
    x, weight, bias = (values(*shape, seed=1).float() for shape in ((1, 7, 5), (1, 4, 5), (1, 1, 4)))
    with torch.autocast("cpu", torch.bfloat16):
        found = MultiplyParts.apply(x, weight, bias)
    assert found.dtype == torch.bfloat16
    exact = torch.autograd.grad(MultiplyParts.apply(x, weight, bias).sum(), (x, weight, bias))
    for ours, theirs in zip(torch.autograd.grad(found.sum(), (x, weight, bias)), exact, strict=True):
        assert ours.dtype == torch.float32 and torch.allclose(ours, theirs, rtol=0.02, atol=0.02)
