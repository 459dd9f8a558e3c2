"""Activation bits of special tokens: against loops over tokens, through learning, files, workers and stops."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional

import fgq
from fgq.affine import SITES, BlockSpec, LearnableBlock
from fgq.calibrate import Recipe, RecipeError, find_recipe
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.quant import Bits, Grid, LearnableClip, quantize_kinds, quantize_tokens
from fgq.vggt.weights import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore:.*so its start was kept")  # too few steps here to always gain
QUICK = dict(epochs=2, warmup_steps=2, progress=False)
LEARNING = ["flatquant", "fgq"]


@pytest.fixture
def model(build_toy):
    return build_toy(embed_dim=32)


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(3, 3, 16, 24, generator=generator)) for i in range(4)]


@pytest.fixture
def inputs_of(model, scenes):
    """A block by its name with what it is called with in the full-precision model: clips of three frames."""

    def find(name):
        images = torch.stack([scene.images for scene in scenes[:2]])
        tokens = [model.aggregator.embed(images), *model.aggregator(images)]
        index = model.config.block_names.index(name)
        return dict(model.aggregator.blocks())[name], *model.aggregator.layout(images).arguments(name, tokens[index])

    return find


def quantized(model, scenes, recipe, **options):
    fisher = torch.ones(model.config.num_blocks, model.config.embed_dim)
    return fgq.quantize(model, scenes, recipe, fisher=fisher, **(QUICK | options))


def is_special(model, sequence):
    """Token by token, from the order that VGGT's frames have: one camera token, the registers, 2 × 3 patches."""
    special, patches = 1 + model.config.num_register_tokens, 6
    return [place % (special + patches) < special for place in range(sequence)]


def rounded(values, bits):
    """One row to its own symmetric grid, over its whole range."""
    highest = 2 ** (bits - 1) - 1
    step = max(max(values.tolist()), -min(values.tolist()), 0.0) / highest or 1.0
    return torch.tensor([min(max(round(v / step), -highest - 1), highest) * step for v in values.tolist()])


@torch.no_grad()
def by_loops(block, x, rotary, weight_bits, patch_bits, special_bits, special):
    """A block rounded to nearest: each row of a weight and each token of each input on its own."""

    def linear(path, values):
        layer = block.get_submodule(path)
        weight = torch.stack([rounded(row, weight_bits) for row in layer.weight])
        sequences = [
            torch.stack([rounded(t, special_bits if s else patch_bits) for t, s in zip(one, special, strict=True)])
            for one in values
        ]
        return functional.linear(torch.stack(sequences), weight, layer.bias).chunk(3 if path == "attn.qkv" else 1, -1)

    return block.run(x, rotary, linear)


@pytest.mark.parametrize("name", ["F0", "G0", "G1"])
@pytest.mark.parametrize("bits", ["W4A4S8", "W4A8S3"])
def test_blocks_equal_loops_over_frames_and_tokens(model, inputs_of, name, bits):
    told = Bits(bits)
    block, x, rotary = inputs_of(name)
    special = is_special(model, x.shape[1])
    assert special.count(True) == len(rotary.special) == (9 if name[0] == "G" else 3)
    truth = by_loops(block, x, rotary, told.weight, told.activation, told.special, special)
    small = fgq.quantize(model, recipe="rtn", progress=False, **told.fields)
    learnable = LearnableBlock(block, find_recipe("rtn", overrides=told.fields).block_spec())
    together = LearnableBlock(block, find_recipe("rtn", told.weight, told.activation).block_spec())

    def differing(ours):
        return ((ours(x, rotary) - truth).abs() > 1e-4).float().mean()

    with torch.no_grad():
        # A tie may tip where sums are rounded otherwise; the token's channels then move by one step of a code.
        assert differing(dict(small.aggregator.blocks())[name]) < 0.02 and differing(learnable) < 0.02
        assert differing(together) > 0.5


def test_bits_of_one_kind_leave_the_other_untouched(inputs_of):
    block, x, rotary = inputs_of("G0")
    special = torch.zeros(x.shape[1], dtype=torch.bool).index_fill(0, rotary.special, True)
    for patch_bits, special_bits, damaged in ((4, 16, ~special), (16, 4, special)):
        spec = BlockSpec(Grid(16), Grid(8, per="token"), "kronecker", activation_bits=((patch_bits, special_bits),) * 4)
        learnable = LearnableBlock(block, spec, generator=torch.Generator().manual_seed(0))
        before, after = learnable.transformed_inputs(x, rotary), learnable.quantized_inputs(x, rotary)
        for site in SITES:
            error = (after[site.name].view(before[site.name].shape) - before[site.name]).abs().amax(-1)
            assert (error[:, damaged] > 0).all() and not error[:, ~damaged].any()


@pytest.mark.parametrize("symmetric", [True, False])
def test_patches_are_as_without_and_special_tokens_use_their_whole_range(inputs_of, symmetric):
    block, x, rotary = inputs_of("G0")
    grids = Grid(4), Grid(4, symmetric, per="token")
    pair = [
        LearnableBlock(block, BlockSpec(*grids, clipping="learned", activation_bits=own))
        for own in (None, ((4, 6),) * 4)
    ]
    with torch.no_grad():
        for each in pair:
            for logits in each.clip_parameters():
                logits.fill_(0.3)
    together, split = (each.quantized_inputs(x, rotary) for each in pair)
    special = torch.zeros(x.shape[1], dtype=torch.bool).index_fill(0, rotary.special, True)
    for site in SITES:
        shape = len(together[site.name]), *x.shape[:2], -1
        ours, theirs = split[site.name].view(shape), together[site.name].view(shape)
        assert torch.equal(ours[:, :, ~special], theirs[:, :, ~special])
        whole = pair[1].transformed_inputs(x, rotary)[site.name][:, special]
        expected = Grid(6, symmetric, per="token").fake_quantize(whole)
        assert all(torch.equal(clip[:, special], expected) for clip in ours)


@pytest.mark.parametrize("symmetric", [True, False])
def test_clips_learn_from_patches_alone(symmetric):
    values = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1))
    grid, clip, special = Grid(4, symmetric, per="token"), LearnableClip(3), torch.tensor([0, 1, 4])
    patches = [row for row in range(9) if row not in special]
    split = quantize_kinds(values, grid, clip, Grid(8, symmetric, per="token"), special)
    alone = quantize_tokens(values[:, patches], grid, clip)
    gradients = [torch.autograd.grad(result.square().sum(), clip.logits)[0] for result in (split, alone)]
    assert gradients[0].abs().sum() > 0 and torch.allclose(*gradients, rtol=1e-4)


@pytest.mark.parametrize("recipe", ["rtn", "gptq", "quarot"])
def test_equal_bits_of_their_own_change_no_bit_where_nothing_is_clipped(model, scenes, recipe):
    plain, own = (quantized(model, scenes, recipe, special_activation_bits=bits) for bits in (None, 4))
    assert fingerprint(plain) == fingerprint(own)
    images = scenes[0].images
    assert torch.equal(plain(images).depth, own(images).depth)
    other = quantized(model, scenes, recipe, special_activation_bits=8)
    assert not torch.equal(plain(images).depth, other(images).depth)


@pytest.mark.parametrize("recipe", ["gptq", *LEARNING])
def test_what_was_learnt_is_what_inference_computes(model, scenes, recipe):
    small = quantized(model, scenes, recipe, special_activation_bits=8)
    log = small.quantization.blocks[1]
    images = torch.stack([scene.images for scene in scenes])
    with torch.no_grad():
        before = list(model.aggregator.outputs(images))
        layout = model.aggregator.layout(images)
        again = dict(small.aggregator.blocks())["G0"](*layout.arguments("G0", before[0])).view_as(before[1])
    # A tie may tip between batches of different size.
    assert (again - before[1]).square().mean().item() == pytest.approx(log.final_loss, rel=1e-3)
    alike = quantized(model, scenes, recipe).quantization.blocks
    assert sum(block.final_loss for block in small.quantization.blocks) < sum(block.final_loss for block in alike)
    assert small.quantization.blocks[0].rtn_loss < alike[0].rtn_loss  # the rival has the same bits


@pytest.mark.parametrize("recipe", ["rtn", *LEARNING])
def test_files_workers_and_stops_give_the_same_bits(model, scenes, recipe, tmp_path):
    options = dict(special_activation_bits=8)
    whole = quantized(model, scenes, recipe, **options)
    whole.save(tmp_path / "small")
    loaded, images = fgq.load_model(tmp_path / "small"), scenes[0].images
    assert loaded.quantization == whole.quantization
    with torch.no_grad():
        assert torch.equal(loaded(images).depth, whole(images).depth)
    with ThreadPoolExecutor(2) as pool:
        assert fingerprint(quantized(model, scenes, recipe, executor=pool, **options)) == fingerprint(whole)
    quantized(model, scenes, recipe, resume_dir=tmp_path / "blocks", **options)
    (tmp_path / "blocks" / "G0.safetensors").unlink()
    resumed = quantized(model, scenes, recipe, resume_dir=tmp_path / "blocks", **options)
    assert fingerprint(resumed) == fingerprint(whole)
    with torch.no_grad():
        assert torch.equal(resumed(images).depth, whole(images).depth)
    with pytest.raises(FgqError, match=r"recipe's special_activation_bits \(8 there, 6 now\)"):
        quantized(model, scenes, recipe, resume_dir=tmp_path / "blocks", special_activation_bits=6)


def test_only_files_that_need_it_have_the_new_format(model, tmp_path):
    formats = {None: "fgq-quantized-1", 8: "fgq-quantized-2"}
    for bits, format in formats.items():
        fgq.quantize(model, recipe="rtn", special_activation_bits=bits, progress=False).save(tmp_path)
        said = json.loads((tmp_path / "quantization.json").read_text())
        assert said["format"] == format and ("activation_bits" in said["blocks"]["F0"]) == (bits is not None)


def test_a_block_that_is_not_told_where_special_tokens_lie_says_so(model, inputs_of):
    small = fgq.quantize(model, recipe="rtn", special_activation_bits=8, progress=False)
    _, x, _ = inputs_of("F0")
    with pytest.raises(FgqError, match="nobody says where they lie: call the block as fgq.vggt.aggregator.run_block"):
        dict(small.aggregator.blocks())["F0"](x)


@pytest.mark.parametrize("name", ["F1", "G0"])
@pytest.mark.parametrize("own", [{"attn_in": 8}, {"attn_out": 3, "fc2_in": 6}, {site.name: 6 for site in SITES}])
def test_a_site_s_bits_are_those_of_its_grid(inputs_of, name, own):
    """Against a block whose inputs a plain loop over sites quantizes; special tokens go with the others or alone."""
    block, x, rotary = inputs_of(name)
    for special in (None, 5):
        options = {"activation_bits": 4, "site_activation_bits": own, "special_activation_bits": special}
        recipe = find_recipe("rtn", overrides={"weight_bits": 16, **options})

        def linear(path, values, special=special):
            site = next(site for site in SITES if site.linear == path)
            quantized = Grid(own.get(site.name, 4), per="token").fake_quantize(values)
            if special is not None:
                for row in rotary.special.tolist():
                    quantized[:, row] = Grid(special, per="token").fake_quantize(values[:, row])
            return block.get_submodule(path)(quantized).chunk(len(site.projections), -1)

        with torch.no_grad():
            truth = block.run(x, rotary, linear)
            for ours in (
                LearnableBlock(block, recipe.block_spec()),
                LearnableBlock(block, recipe.block_spec()).freeze(),
            ):
                assert torch.allclose(ours(x, rotary), truth, atol=1e-5)


def test_more_bits_at_one_site_damage_less_and_come_back(model, scenes, tmp_path):
    def losses(**own):
        return quantized(model, scenes, "flatquant", weight_bits=16, epochs=1, **own).quantization.blocks

    plain = sum(block.initial_loss for block in losses())
    assert all(sum(b.initial_loss for b in losses(site_activation_bits={site.name: 8})) < plain for site in SITES)
    small = quantized(model, scenes, "gptq", site_activation_bits={"attn_in": 8}, special_activation_bits=6)
    small.save(tmp_path)
    loaded, images = fgq.load_model(tmp_path), scenes[0].images
    assert loaded.quantization == small.quantization and loaded.quantization.recipe.label == "gptq + S6 + attn_in A8"
    assert [block.spec for _, block in loaded.aggregator.blocks()] == [b.spec for _, b in small.aggregator.blocks()]
    with torch.no_grad():
        assert torch.equal(loaded(images).depth, small(images).depth)


def test_unknown_sites_and_bits_are_named():
    given = {"attn_in": 8}
    recipe = find_recipe("rtn", overrides={"site_activation_bits": given})
    given["fc1_in"] = 2
    assert recipe.site_activation_bits == {"attn_in": 8} and hash(recipe) == hash(find_recipe(recipe))
    assert find_recipe("fgq", 16, 16, {"site_activation_bits": {"fc2_in": 4}}).learns
    with pytest.raises(RecipeError, match="names 'qkv', which is no site: choose attn_in, attn_out, fc1_in, fc2_in"):
        find_recipe("rtn", overrides={"site_activation_bits": {"qkv": 8}})
    with pytest.raises(FgqError, match="1 bits: choose 2 to 8"):
        find_recipe("rtn", overrides={"site_activation_bits": {"attn_in": 1}})
    with pytest.raises(RecipeError, match="site_activation_bits must be of type"):
        find_recipe("rtn", overrides={"site_activation_bits": 8})


def test_recipes_and_results_are_called_by_their_bits(model, scenes):
    recipe = find_recipe("flatquant", overrides=Bits("W4A4S8").fields)
    assert (str(recipe.bits), recipe.label) == ("W4A4S8", "flatquant + S8")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    told = find_recipe("rtn").to_dict()
    del told["special_activation_bits"]  # as an older file has it
    assert Recipe.from_dict(told) == find_recipe("rtn")
    assert find_recipe("flatquant", 16, 16, {"special_activation_bits": 4}).learns
    with pytest.raises(FgqError, match="9 bits: choose 2 to 8, or 16"):
        find_recipe("rtn", overrides={"special_activation_bits": 9})
    with pytest.raises(RecipeError, match="special_activation_bits must be of type"):
        find_recipe("rtn", overrides={"special_activation_bits": "8"})
