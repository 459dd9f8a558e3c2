import pytest
import torch

from fgq.affine import BlockSpec, LearnableBlock, QuantizedBlock, linear_inputs, site_named, smooth_start
from fgq.quant import Grid
from fgq.quant.rounders import ByInputs
from fgq.vggt.attention import Block

CASES = [(bits, index) for bits in ("w4a4", "w4a8", "w8a8") for index in (2, 5)]
SPECS = {
    "rtn": ("none", "none"),
    "clipping alone": ("none", "learned"),
    "clipping of weights": ("kronecker", "weights"),
    "clipping of activations": ("kronecker", "activations"),
    "transforms alone": ("kronecker", "none"),
    "both": ("kronecker", "learned"),
    "SmoothQuant": ("diagonal", "none"),
    "QuaRot": ("rotation", "none"),
    "rotation and clipping": ("rotation", "learned"),
    "QuantVGGT": ("rotation_smoothing", "none"),
}


def flipped(ours: torch.Tensor, theirs: torch.Tensor) -> int:
    """Output values further off than float noise: each would be a code that a rounding tie flipped."""
    return int(((ours - theirs).abs() > 1e-4).sum())


@pytest.mark.parametrize("bits, index", CASES)
def test_full_precision_and_round_to_nearest_agree_with_the_reference(recorded, bits, index):
    golden = recorded(bits, index)
    assert flipped(golden.block(golden.x, golden.rotary), golden["fp_out"]) == 0
    rtn = LearnableBlock(golden.block, BlockSpec(*golden.grids))
    # Without AVX2 sums are rounded otherwise, and one tie may tip: a code of a token moves that token's channels.
    tied = golden.x.shape[-1] if torch.backends.cpu.get_cpu_capability() == "DEFAULT" else 0
    assert flipped(rtn(golden.x, golden.rotary), golden["rtn_out"]) <= tied
    assert flipped(rtn.freeze()(golden.x, golden.rotary), golden["rtn_out"]) <= tied
    assert flipped(golden["fp_out"], golden["rtn_out"]) > 1000


@pytest.mark.parametrize("bits, index", CASES)
def test_transformed_and_clipped_blocks_agree_with_the_reference(recorded, bits, index):
    golden = recorded(bits, index)
    block = golden.learnable()
    assert flipped(block(golden.x, golden.rotary), golden["quant_out"]) == 0
    assert flipped(block.freeze()(golden.x, golden.rotary), golden["quant_out"]) == 0


@pytest.mark.parametrize("bits, index", CASES)
def test_diagonals_start_where_the_reference_starts_them(recorded, bits, index):
    golden = recorded(bits, index)
    _, inputs = linear_inputs(golden.block, golden.x, golden.rotary)
    for label, name in (("attn", "attn_in"), ("fc1", "fc1_in"), ("fc2", "fc2_in")):
        weight = golden.block.get_submodule(site_named(name).linear).weight
        start = smooth_start(weight, inputs[name].abs().flatten(0, 1).amax(0), alpha=0.5)
        assert torch.allclose(start, golden[f"diag_init.{label}"], rtol=1e-5)


def random_learnable(block: Block, spec: BlockSpec, seed: int = 0) -> LearnableBlock:
    """A learnable block moved away from its start, as training would."""
    generator = torch.Generator().manual_seed(seed)
    block = LearnableBlock(block, spec, generator=generator)
    with torch.no_grad():
        for parameter in [*block.transform_parameters(), *block.clip_parameters()]:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return block


@pytest.mark.parametrize("qkv_clip", ["separate", "shared"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [(4, 4), (3, 8), (16, 4), (4, 16)])
@pytest.mark.parametrize("transforms, clipping", SPECS.values(), ids=SPECS)
def test_freezing_changes_nothing_but_the_type(recorded, transforms, clipping, bits, symmetric, qkv_clip):
    golden = recorded("w4a4", 2)
    grids = Grid(bits[0], symmetric), Grid(bits[1], symmetric, per="token")
    block = random_learnable(golden.block, BlockSpec(*grids, transforms, clipping, qkv_clip))
    fixed = block.freeze()
    assert isinstance(fixed, QuantizedBlock) and not any(p.requires_grad for p in fixed.parameters())
    before = block(golden.x, golden.rotary)
    # Folding a diagonal into a LayerNorm changes the last bit of an activation, which can flip a code that lies on a
    # tie; its token then moves. Nearly all tokens must agree.
    moved = ((fixed(golden.x, golden.rotary) - before).abs() > 1e-4).any(-1).float().mean()
    assert moved < 0.05
    # Later training of the learnable block does not reach the frozen one.
    kept = fixed(golden.x, golden.rotary)
    block.become_neutral()
    assert torch.equal(fixed(golden.x, golden.rotary), kept)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("groups", [(8, None), (None, 4), (16, 8)])
def test_groups_learn_and_freeze(recorded, groups, symmetric):
    golden = recorded("w4a4", 2)
    grids = Grid(4, symmetric, group=groups[0]), Grid(4, symmetric, "token", groups[1])
    block = random_learnable(golden.block, BlockSpec(*grids, "kronecker", "learned"))
    before, fixed = block(golden.x, golden.rotary), block.freeze()
    moved = ((fixed(golden.x, golden.rotary) - before).abs() > 1e-4).any(-1).float().mean()
    assert moved < 0.05
    before.square().sum().backward()
    clips = block.weight_clips["fc2_in"].logits
    assert clips.shape == (32 * (128 // (groups[0] or 128)), 2) and (clips.grad != 0).any(1).float().mean() > 0.5


def test_each_group_of_a_weight_has_a_clip_of_its_own(recorded):
    golden = recorded("w4a4", 2)
    block = random_learnable(golden.block, BlockSpec(Grid(4, group=8), golden.grids[1], "none", "learned"))
    weight, _ = block.prepared_weight(site_named("fc1_in"), {})
    factors = block.weight_clips["fc1_in"].factors().view(128, 4, 2)
    for row, group in ((0, 0), (5, 3), (127, 1)):
        values = golden.block.mlp.fc1.weight[row, 8 * group : 8 * group + 8]
        low, high = values.min() * factors[row, group, 0], values.max() * factors[row, group, 1]
        assert torch.equal(weight[row, 8 * group : 8 * group + 8], values.clamp(low, high))


@pytest.mark.parametrize("transforms, clipping", SPECS.values(), ids=SPECS)
def test_sixteen_bits_are_the_full_precision_block(recorded, transforms, clipping):
    golden = recorded("w4a4", 5)
    block = random_learnable(golden.block, BlockSpec(Grid(16), Grid(16, per="token"), transforms, clipping))
    for version in (block, block.freeze()):
        assert torch.allclose(version(golden.x, golden.rotary), golden["fp_out"], atol=1e-4)


def test_a_neutral_block_rounds_to_nearest(recorded):
    golden = recorded("w4a4", 2)
    block = random_learnable(golden.block, BlockSpec(*golden.grids, "kronecker", "learned"))
    assert flipped(block(golden.x, golden.rotary), golden["rtn_out"]) > 1000
    block.become_neutral()
    assert flipped(block.freeze()(golden.x, golden.rotary), golden["rtn_out"]) == 0


def test_every_learnable_parameter_has_a_gradient_and_the_weights_have_none(recorded):
    golden = recorded("w4a4", 2)
    block = random_learnable(golden.block, BlockSpec(*golden.grids, "kronecker", "learned"))
    block(golden.x, golden.rotary).square().sum().backward()
    learnable = [*block.transform_parameters(), *block.clip_parameters()]
    assert len(learnable) == 4 * 4 + 3 + 8
    for parameter in learnable:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in golden.block.parameters())
    assert all(parameter.grad is None for parameter in block.block.parameters())


def test_the_diagonal_balances_the_ranges_and_folds_away(recorded):
    golden = recorded("w4a4", 2)
    _, inputs = linear_inputs(golden.block, golden.x, golden.rotary)
    maxima = {name: values.abs().flatten(0, 1).amax(0) for name, values in inputs.items()}
    spec = BlockSpec(*golden.grids, "diagonal")
    block = LearnableBlock(golden.block, spec, maxima, alpha=0.5)
    assert not block.transform_parameters()
    fixed = block.freeze()
    assert all(transform.is_identity for transform in fixed.transforms.values())
    weight, _ = block.prepared_weight(site_named("fc1_in"), block.matrices())
    diagonal = block.transforms["fc1_in"].diagonal
    torch.testing.assert_close(fixed.norm2.weight, golden.block.norm2.weight * diagonal)
    torch.testing.assert_close(fixed.norm2.bias, golden.block.norm2.bias * diagonal)
    # With exponent one half, input and weight of every channel have the same largest magnitude.
    torch.testing.assert_close(maxima["fc1_in"] * diagonal, weight.abs().amax(0))
    # Nothing can take the diagonal of fc2: it is left as it was.
    untouched, _ = block.prepared_weight(site_named("fc2_in"), block.matrices())
    assert torch.equal(untouched, golden.block.mlp.fc2.weight)


def test_a_rotation_makes_weights_and_inputs_flatter(recorded):
    golden = recorded("w4a4", 5)
    block = LearnableBlock(
        golden.block, BlockSpec(*golden.grids, "rotation"), generator=torch.Generator().manual_seed(0)
    )
    _, inputs = linear_inputs(golden.block, golden.x, golden.rotary)
    before = inputs["fc2_in"]
    after = block.matrices()["fc2_in"].apply(before)
    torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))

    def peak(x):
        return (x.abs().amax(-1) / x.square().mean(-1).sqrt()).mean()

    assert peak(after) < 0.8 * peak(before)


def test_smoothing_follows_the_rotation_and_balances_what_it_leaves(recorded):
    golden = recorded("w4a4", 5)
    block, rotation = (
        LearnableBlock(golden.block, BlockSpec(*golden.grids, kind), generator=torch.Generator().manual_seed(0))
        for kind in ("rotation_smoothing", "rotation")
    )
    rotated = block.transformed_inputs(golden.x, golden.rotary)
    block.smooth({name: x.abs().flatten(0, 1).amax(0) for name, x in rotated.items()}, alpha=0.5)
    _, plain = linear_inputs(golden.block, golden.x, golden.rotary)
    for name, path in (("fc1_in", "mlp.fc1"), ("attn_out", "attn.proj"), ("fc2_in", "mlp.fc2")):
        sides = rotation.transforms[name]
        full = torch.kron(sides.left, sides.right)
        x, weight = plain[name].flatten(0, 1) @ full, golden.block.get_submodule(path).weight @ full
        smoothing = (weight.abs().amax(0) / x.abs().amax(0)).sqrt()
        torch.testing.assert_close(block.transforms[name].smoothing, smoothing, rtol=1e-4, atol=1e-6)
        inputs = block.transformed_inputs(golden.x, golden.rotary)[name].flatten(0, 1)
        torch.testing.assert_close(inputs, x * smoothing, rtol=1e-3, atol=1e-5)
        prepared, _ = block.prepared_weight(site_named(name), block.matrices())
        # With exponent one half, input and weight of every channel have the same largest magnitude.
        torch.testing.assert_close(inputs.abs().amax(0), prepared.abs().amax(0), rtol=1e-4, atol=1e-6)
    fixed = block.freeze()
    assert torch.equal(fixed.transforms["attn_out"].smoothing, block.transforms["attn_out"].smoothing)
    assert torch.equal(fixed.norm1.weight, golden.block.norm1.weight)  # rotations lie between: nothing is folded


@pytest.mark.parametrize("transforms, clipping", SPECS.values(), ids=SPECS)
def test_quantized_inputs_are_what_the_linear_layers_multiply(recorded, transforms, clipping):
    golden = recorded("w4a8", 2)
    weights_alone = BlockSpec(Grid(16), Grid(16, per="token"), transforms, clipping)
    block = random_learnable(golden.block, weights_alone)
    inputs = block.quantized_inputs(golden.x, golden.rotary)
    # In full precision a transform cancels: transformed input times transformed weight is the layer's own output.
    _, plain = linear_inputs(golden.block, golden.x, golden.rotary)
    for name, path in (("fc1_in", "mlp.fc1"), ("attn_out", "attn.proj"), ("fc2_in", "mlp.fc2")):
        weight, bias = block.prepared_weight(site_named(name), block.matrices())
        expected = golden.block.get_submodule(path)(plain[name]).flatten(0, 1)
        torch.testing.assert_close(inputs[name][0] @ weight.T + bias, expected, rtol=1e-3, atol=1e-4)


def test_gptq_codes_come_nearer_to_the_layer_s_output_than_nearest_codes(recorded):
    golden = recorded("w4a8", 5)
    spec = BlockSpec(Grid(3), golden.grids[1], "rotation", "learned")
    block = random_learnable(golden.block, spec)
    inputs = block.quantized_inputs(golden.x, golden.rotary)
    hessians = {name: x.transpose(1, 2) @ x for name, x in inputs.items()}
    assert hessians["attn_in"].shape == (3, 32, 32)  # q, k and v each see their own clip
    nearest, gptq = block.freeze(), block.freeze({name: ByInputs(hessian) for name, hessian in hessians.items()})
    for site in ("attn_in", "fc1_in", "fc2_in"):
        path = site_named(site).linear
        weight, _ = block.prepared_weight(site_named(site), block.matrices())
        parts = weight.chunk(len(inputs[site]))
        off = []
        for fixed in (nearest, gptq):
            layer = fixed.get_submodule(path)
            rounded = (layer.codes * layer.scale).chunk(len(inputs[site]))
            off.append(sum(((x @ (a - b).T) ** 2).sum() for x, a, b in zip(inputs[site], parts, rounded, strict=True)))
        assert off[1] < 0.9 * off[0]
