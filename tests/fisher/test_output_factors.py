"""H_O against the whole Jacobian, against autograd behind a value transform, and against damage that was measured."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from scipy.linalg import hadamard

import fgq
from fgq.affine.learnable_block import transform_values
from fgq.affine.quantized_block import QuantizedBlock
from fgq.affine.sites import SITES, linear_inputs, linear_of
from fgq.affine.spec import BlockSpec
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import TOKEN_KINDS
from fgq.fisher.estimators import Clips
from fgq.fisher.output_factors import BLOCK_OUTPUT, FactorPlan, in_value_basis, linear_outputs, output_factors
from fgq.quant import Grid
from fgq.quant.output_matrix import InBlocks
from fgq.quant.two_sided import two_sided_loss
from fgq.vggt import TASK_OUTPUT, TASKS
from fgq.vggt.aggregator import run_block


@pytest.fixture
def small(build_toy):
    return build_toy(
        img_size=8, embed_dim=8, depth=1, dpt_layers=(0, 0, 0, 0), dpt_features=8, dpt_out_channels=(4, 4, 4, 4)
    )


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(3)
    return [Scene(f"s{i}", torch.rand(2, 3, 8, 8, generator=generator)) for i in range(3)]


def estimate(model, scenes, probes=2, **options):
    how = {name: options.pop(name) for name in ("batch_size", "executor") if name in options}
    if "task_weights" in options:
        options["task_weights"] = tuple(options["task_weights"].get(task, 0.0) for task in TASKS)
    return output_factors(model, scenes, FactorPlan(probes, **options), progress=False, **how)


def jacobian_products(model, scene, weights):
    """Σ over tasks of weight / ‖o‖² Σ_i J_iᵀ J_i by block and site, one output of the whole model at a time.

    What is differentiated is an addend to each layer's output, put there by a hook.
    """
    addends, handles = {}, []
    for name, block in model.aggregator.blocks():
        for site in SITES:

            def add(module, inputs, output, key=(name, site.name)):
                addends[key] = torch.zeros_like(output, requires_grad=True)
                return output + addends[key]

            handles.append(linear_of(block, site).register_forward_hook(add))
        handles.append(block.register_forward_hook(partial(add, key=(name, BLOCK_OUTPUT))))
    outputs = model.aggregator(scene.images[None])
    predictions = model.read_heads(outputs, scene.images[None].shape, unrolled=True)
    for handle in handles:
        handle.remove()
    total = dict.fromkeys(addends, 0.0)
    for task, weight in weights.items():
        output = predictions[TASK_OUTPUT[task]]
        share = weight / output.detach().double().square().sum()
        for value in output.flatten():
            rows = torch.autograd.grad(value, list(addends.values()), retain_graph=True, materialize_grads=True)
            for key, row in zip(addends, rows, strict=True):
                flat = row.flatten(0, -2).double()
                total[key] = total[key] + share * flat.T @ flat
    return total


def test_the_mean_over_all_signs_is_the_jacobians_product(small, scenes, monkeypatch, relative_error):
    """128 rows of a Hadamard matrix: signs with Σ v vᵀ = 128 · 1 for up to 128 outputs, as all 2^128 together have."""
    rows, drawn = torch.tensor(hadamard(128), dtype=torch.float32), {}

    def next_signs(self, like):
        number = drawn[like.shape] = drawn.get(like.shape, -1) + 1
        return rows[number, : like.numel()].view_as(like)

    monkeypatch.setattr(Clips, "signs", next_signs)
    weights = {"camera": 2.0, "depth": 0.5}
    found = estimate(small, scenes[:1], probes=128, task_weights=weights)
    truth = jacobian_products(small, scenes[0], weights)
    assert [(name, site) for name in found for site in found[name]] == list(truth)
    for (name, site), expected in truth.items():
        assert relative_error(found[name][site].blocks[0].double(), expected) < 1e-4


def test_random_signs_come_near_it(small, scenes):
    weights = {"camera": 1.0}
    truth, found = jacobian_products(small, scenes[0], weights), estimate(small, scenes[:1], 64, task_weights=weights)
    for (name, site), expected in truth.items():
        assert (found[name][site].blocks[0].double() - expected).norm() < 0.3 * expected.norm()


def test_the_traced_block_is_the_block(small):
    block, x = small.aggregator.frame_blocks[0], torch.randn(2, 5, 8)
    output, seen = linear_outputs(block, x)
    assert torch.equal(output, block(x))
    assert all(seen[site.name].shape[-1] == linear_of(block, site).out_features for site in SITES)


def test_matrices_are_symmetric_and_positive(small, scenes):
    for sites in estimate(small, scenes).values():
        for matrix in sites.values():
            whole = matrix.blocks[0]
            assert whole.dtype == torch.float32 and torch.equal(whole, whole.T)
            assert torch.linalg.eigvalsh(whole.double()).min() > -1e-6 * whole.diagonal().mean()


def close(one, other):
    for name, sites in one.items():
        for site, matrix in sites.items():
            largest = matrix.blocks.abs().max().item()
            torch.testing.assert_close(matrix.blocks, other[name][site].blocks, rtol=1e-4, atol=1e-5 * largest)


def test_values_follow_from_seed_and_scenes_alone(small, scenes):
    alone = estimate(small, scenes)
    again = estimate(small, scenes)
    assert all(torch.equal(alone[b][s].blocks, again[b][s].blocks) for b in alone for s in alone[b])
    close(alone, estimate(small, scenes[::-1], batch_size=2))
    close(alone, estimate(small, scenes, batch_size=8))
    with ThreadPoolExecutor(2) as threads:
        close(alone, estimate(small, scenes, executor=threads))
    other = estimate(small, scenes, seed=1)
    assert not torch.allclose(alone["F0"]["fc1_in"].blocks, other["F0"]["fc1_in"].blocks, rtol=0.01)


def test_chosen_blocks_and_diagonal_blocks_are_parts_of_the_whole(small, scenes):
    whole = estimate(small, scenes)
    part = estimate(small, scenes, blocks=["G0"], size=4)
    assert list(whole) == ["F0", "G0"] and list(part) == ["G0"]
    close(part, {"G0": {site: InBlocks.of(matrix.blocks[0], 4) for site, matrix in whole["G0"].items()}})


def test_kinds_of_tokens_add_up_to_the_whole(small, scenes):
    whole = estimate(small, scenes)
    kinds = [estimate(small, scenes, kinds=[kind]) for kind in TOKEN_KINDS]
    close(whole, {b: {s: InBlocks(sum(k[b][s].blocks for k in kinds)) for s in whole[b]} for b in whole})
    # The camera head reads camera tokens only, and in the last block nothing carries their errors elsewhere behind o.
    camera = {"task_weights": {"camera": 1.0}, "blocks": ["G0"]}
    assert not estimate(small, scenes, kinds=["patch"], **camera)["G0"]["fc1_in"].blocks.any()
    assert estimate(small, scenes, kinds=["camera"], **camera)["G0"]["fc1_in"].blocks.any()


def test_a_task_without_weight_needs_no_head(small, scenes):
    weights = {"camera": 1.0, "points": 0.0}
    expected = estimate(small, scenes, task_weights=weights)
    small.depth_head = small.point_head = None
    close(expected, estimate(small, scenes, task_weights=weights))


def test_the_value_basis_is_that_of_autograd_and_leaves_the_form_as_it_was(small, relative_error):
    generator = torch.Generator().manual_seed(5)
    attention, dim = small.aggregator.frame_blocks[0].attn, small.config.embed_dim
    per_head = torch.randn(attention.head_dim, attention.head_dim, generator=generator)
    x, upstream = (torch.randn(3, 6, dim, generator=generator) for _ in range(2))
    products = []
    for turn in (torch.eye(len(per_head)), per_head):
        q, k, v = attention.qkv(x).chunk(3, dim=-1)
        turned = (v.unflatten(-1, (-1, len(turn))) @ turn).flatten(-2)
        layer = torch.cat([q, k, turned], dim=-1).detach().requires_grad_()
        q, k, turned = layer.chunk(3, dim=-1)
        v = (turned.unflatten(-1, (-1, len(turn))) @ torch.linalg.inv(turn)).flatten(-2)
        (g,) = torch.autograd.grad(attention.proj(attention.mix(q, k, v, None)).tanh(), layer, upstream)
        products.append(g.flatten(0, 1).T @ g.flatten(0, 1))
    plain, behind = products
    found = in_value_basis(InBlocks(plain[None]), per_head).blocks[0]
    assert relative_error(found, behind) < 1e-4 and torch.equal(found, found.T)
    assert torch.equal(found[: 2 * dim, : 2 * dim], plain[: 2 * dim, : 2 * dim])
    split = in_value_basis(InBlocks.of(plain, len(per_head)), per_head).blocks
    assert relative_error(split, InBlocks.of(behind, len(per_head)).blocks) < 1e-4
    error, inputs = torch.randn(3 * dim, dim, generator=generator), torch.eye(dim)
    same = two_sided_loss(transform_values(error, per_head), inputs, found)
    assert same == pytest.approx(two_sided_loss(error, inputs, plain), rel=1e-4)
    with pytest.raises(FgqError, match="blocks of 4 rows do not divide 2"):
        in_value_basis(InBlocks.of(plain, 2), per_head)


@torch.no_grad()
def measured_damage(model, images, index, outputs, truth):
    """½ Σ over tasks of the squared relative error, when the blocks from number `index` on run as they now are."""
    layout, moved = model.aggregator.layout(images), outputs[:index]
    for name, block in list(model.aggregator.blocks())[index:]:
        moved.append(run_block(block, name, moved[-1], layout))
    found = model.read_heads(moved, images.shape)
    errors = ((found[output] - truth[output]).norm() / truth[output].norm() for output in TASK_OUTPUT.values())
    return sum(0.5 * error.item() ** 2 for error in errors)


def test_the_whole_matrix_predicts_measured_damage_better_than_its_diagonal():
    """Errors of rank 1 of one layer of vggt-tiny, each of 2 % of the layer's output: only their directions differ."""
    model, name, generator = fgq.load_model("vggt-tiny"), "F4", torch.Generator().manual_seed(0)
    [scene] = fgq.load_scenes("playroom", split="calibration", count=1, frames=2, seed=0)
    matrix = estimate(model, [scene], blocks=[name], probes=8)[name]["attn_in"].blocks[0]
    index, images = model.config.block_names.index(name), scene.images[None]
    layer = model.aggregator.frame_blocks[4].attn.qkv.requires_grad_(False)
    with torch.no_grad():
        outputs = model.aggregator(images)
        truth = model.read_heads(outputs, images.shape)
        x = linear_inputs(dict(model.aggregator.blocks())[name], outputs[index - 1])[1]["attn_in"].flatten(0, 1)
    inputs, weight = x.T @ x / len(x), layer.weight.clone()
    size, found = 0.02 * (x @ weight.T).norm(), {"measured": [], "whole": [], "diagonal": []}
    for _ in range(30):
        error = torch.outer(*(torch.randn(side, generator=generator) for side in weight.shape))
        error *= size / (x @ error.T).norm()
        layer.weight.copy_(weight + error)
        found["measured"].append(measured_damage(model, images, index, outputs, truth))
        found["whole"].append(0.5 * two_sided_loss(error, inputs, matrix))
        found["diagonal"].append(0.5 * two_sided_loss(error, inputs, torch.diag(matrix.diagonal())))
    _, whole, diagonal = torch.corrcoef(torch.tensor(list(found.values())).log())[0]
    assert whole > diagonal + 0.2


def test_what_cannot_be_estimated_is_refused(small, scenes):
    with pytest.raises(FgqError, match="at least one scene"):
        estimate(small, [])
    with pytest.raises(FgqError, match="there is no block F7: choose from F0, G0"):
        estimate(small, scenes, blocks=["F7"])
    with pytest.raises(FgqError, match="no block was chosen"):
        estimate(small, scenes, blocks=[])
    with pytest.raises(FgqError, match="there is no kind of token word"):
        estimate(small, scenes, kinds=["word"])
    with pytest.raises(FgqError, match="probes 0"):
        estimate(small, scenes, probes=0)
    with pytest.raises(FgqError, match="blocks of 5 rows do not divide 24"):
        estimate(small, scenes, size=5)
    with pytest.raises(FgqError, match="at least one above 0"):
        estimate(small, scenes, task_weights={})
    small.aggregator.replace_block("G0", QuantizedBlock(8, 2, BlockSpec(Grid(4), Grid(8))))
    with pytest.raises(FgqError, match="block G0 is a QuantizedBlock"):
        estimate(small, scenes)


def test_an_image_gone_bad_names_its_scene_and_task(small, scenes):
    scenes[1].images[0, 0, 0, 0] = torch.nan  # after the scene's own check
    with pytest.raises(FgqError, match="scene s1: the gradient of task camera"):
        estimate(small, scenes, batch_size=3)


def test_the_model_is_left_as_it_was(small, scenes):
    before = {name: parameter.clone() for name, parameter in small.named_parameters()}
    estimate(small, scenes)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in small.parameters())
    assert all(torch.equal(before[name], parameter) for name, parameter in small.named_parameters())
