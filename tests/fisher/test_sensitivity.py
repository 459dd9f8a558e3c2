import copy

import pytest
import torch

import fgq
from fgq.affine.sites import SITES
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import FisherTable, estimate_fisher
from fgq.fisher.sensitivity import (
    Part,
    channel_groups,
    measure_sensitivity,
    single_kinds,
    single_linears,
    whole_blocks,
)
from fgq.metrics.deviation import deviations
from fgq.vggt import TASK_OUTPUT, VGGT, VGGTConfig
from fgq.vggt.aggregator import run_block
from tests.conftest import TOY_SIZES


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    model = VGGT(VGGTConfig(**TOY_SIZES)).double().eval()  # else rounding hides small errors
    scenes = [Scene(name=f"s{i}", images=torch.rand(2, 3, 16, 16, dtype=torch.float64)) for i in range(2)]
    small = fgq.quantize(model, recipe="rtn", weight_bits=4, activation_bits=4)
    return model, small, scenes


def one_at_a_time(model, small, scenes, index, keep=lambda error: error, linear=None):
    """½ |y' - y|², the tasks' own metrics and E[Δ²] by a plain loop; `keep` masks the error of the block's output."""
    squared, own, errors = torch.zeros(3).double(), torch.zeros(3).double(), 0.0
    name, fixed = list(small.aggregator.blocks())[index]
    for scene in scenes:
        full = model(scene.images, return_tokens=True)
        layout = model.aggregator.layout(scene.images[None])
        outputs, tokens = [], model.aggregator.embed(scene.images[None])
        for i, (other, block) in enumerate(model.aggregator.blocks()):
            plain = run_block(block, other, tokens, layout)
            if i == index:
                if linear is not None:  # by a hook, not by exchanging modules: quantize input and weight by hand
                    block = copy.deepcopy(block)
                    quantized = fixed.get_submodule(linear)
                    block.get_submodule(linear).register_forward_hook(lambda m, x, y, q=quantized: q(x[0]))
                    moved = run_block(block, other, tokens, layout)
                else:
                    moved = run_block(fixed, other, tokens, layout)
                error = keep(moved - plain)
                plain = plain + error
                errors += error.double().square() / len(scenes)
            tokens = plain
            outputs.append(tokens)
        new = model.read_heads(outputs, (1, *scene.images.shape))
        for t, output in enumerate(TASK_OUTPUT.values()):
            squared[t] += 0.5 * (new[output] - full[output]).double().square().sum() / len(scenes)
        found = deviations(new, full)
        own += torch.tensor([found[f"deviation_{what}"] for what in ("rotation", "depth", "points")]) / len(scenes)
    return squared, own, errors


def agree(found, p, squared, own):
    torch.testing.assert_close(found.output_error[p], squared, rtol=1e-3, atol=1e-10)
    torch.testing.assert_close(found.own_metric[p], own, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_blocks_are_measured_and_predicted_as_a_plain_loop_does(case):
    model, small, scenes = case
    fisher = estimate_fisher(model, scenes, progress=False)
    found = measure_sensitivity(model, small, scenes, progress=False)
    assert found.parts == tuple(whole_blocks(model))
    predicted, by_kind = found.predict(fisher), found.predict(fisher, by_kind=True)
    special = model.config.num_special_tokens
    for index in range(4):
        squared, own, errors = one_at_a_time(model, small, scenes, index)
        agree(found, index, squared, own)
        assert (squared > 0).all()
        means = errors.mean((0, 1))
        wanted = 0.5 * fisher.values[:, index].double() @ means
        torch.testing.assert_close(predicted[index], wanted, rtol=1e-3, atol=0)
        kinds = [errors[:, rows].mean((0, 1)) for rows in (slice(1), slice(1, special), slice(special, None))]
        wanted = 0.5 * (fisher.by_kind[:, :, index].double() * torch.stack(kinds)).sum((1, 2))
        torch.testing.assert_close(by_kind[index], wanted, rtol=1e-3, atol=0)


@torch.no_grad()
def test_linears_are_quantized_alone(case):
    model, small, scenes = case
    parts = single_linears(model)
    assert len(parts) == 4 * 4
    found = measure_sensitivity(model, small, scenes, parts, progress=False)
    for p in (0, 6, 15):
        index, site = divmod(p, 4)
        squared, own, _ = one_at_a_time(model, small, scenes, index, linear=SITES[site].linear)
        assert parts[p].linear == SITES[site].linear
        agree(found, p, squared, own)


@torch.no_grad()
def test_kinds_and_channels_keep_their_share_of_the_error(case):
    model, small, scenes = case
    special, width = model.config.num_special_tokens, model.config.embed_dim

    def only(rows, columns):
        def keep(error):
            mask = torch.zeros_like(error)
            mask[:, rows, columns] = 1
            return error * mask

        return keep

    everything = slice(None)
    kinds = measure_sensitivity(model, small, scenes, single_kinds(model)[:6], progress=False)
    for p, rows in enumerate((slice(1), slice(1, special), slice(special, None))):
        squared, own, _ = one_at_a_time(model, small, scenes, 1, only(rows, everything))
        agree(kinds, 3 + p, squared, own)
    parts = channel_groups(model, 5)
    assert parts[0].channels == (0, 5) and parts[(width + 4) // 5 - 1].channels[1] == width
    groups = measure_sensitivity(model, small, scenes, parts, progress=False)
    squared, own, _ = one_at_a_time(model, small, scenes, 0, only(everything, slice(5, 10)))
    agree(groups, 1, squared, own)
    # shares of the squared error add up to the whole block's
    whole = measure_sensitivity(model, small, scenes, [Part("F0")], progress=False)
    of_f0 = [p for p, part in enumerate(parts) if part.block == "F0"]
    torch.testing.assert_close(groups.errors[of_f0].sum(0), whole.errors[0])


def test_a_small_error_does_quadratically_less(case):
    model, small, scenes = case
    parts = [Part("G0", scale=scale) for scale in (0.1, 0.2)]
    found = measure_sensitivity(model, small, scenes, parts, progress=False)
    before, after = found.output_error[:, 0].tolist()  # of the camera: this toy's maps hardly mind
    assert after == pytest.approx(4 * before, rel=0.05)
    torch.testing.assert_close(found.errors[1], 4 * found.errors[0])
    assert str(parts[0]) == "G0 times 0.1"


def test_the_table_names_parts_and_carries_predictions(case):
    model, small, scenes = case
    found = measure_sensitivity(model, small, scenes[:1], [Part("G1"), Part("F1", kind="patch")], progress=False)
    fisher = estimate_fisher(model, scenes, progress=False)
    table = found.table(found.predict(fisher))
    assert list(table.part.unique()) == ["G1", "F1 patch"] and list(table.task[:3]) == ["camera", "depth", "points"]
    assert table.predicted[4] == pytest.approx(found.predict(fisher)[1, 1].item())
    assert table.output_error[2] == pytest.approx(found.output_error[0, 2].item())


def test_what_cannot_be_measured_is_refused(case):
    model, small, scenes = case

    def refused(parts=None, small=small, scenes=scenes):
        with pytest.raises(FgqError) as caught:
            measure_sensitivity(model, small, scenes, parts, progress=False)
        return str(caught.value)

    assert "at least one scene" in refused(scenes=[])
    assert "at least one part" in refused([])
    assert "no block G9" in refused([Part("G9")])
    assert "no linear layer mlp.fc3" in refused([Part("G0", linear="mlp.fc3")])
    assert "of kind colour" in refused([Part("G0", kind="colour")])
    assert "channels 0 to" in refused([Part("G0", channels=(3, 3))])
    assert "not quantized" in refused(small=model)
    turned = fgq.quantize(model, recipe="quarot")
    assert "transformed" in refused([Part("G0", linear="mlp.fc2")], small=turned)
    broken = copy.deepcopy(small)
    dict(broken.aggregator.blocks())["G0"].attn.proj.bias.fill_(float("nan"))
    assert "scene s0: with G0 quantized" in refused([Part("G0")], small=broken)


def test_a_table_of_another_model_or_without_kinds_is_refused(case):
    model, small, scenes = case
    found = measure_sensitivity(model, small, scenes[:1], [Part("G1")], progress=False)
    values = torch.ones(3, 2, model.config.embed_dim)
    with pytest.raises(FgqError, match="no block G1"):
        found.predict(FisherTable(values, ("camera", "depth", "points"), ("F0", "G0"), "sum_of_outputs"))
    whole = FisherTable(
        torch.ones(3, 4, model.config.embed_dim), ("camera", "depth", "points"), ("F0", "G0", "F1", "G1"), "hutchinson"
    )
    with pytest.raises(FgqError, match="kinds of tokens"):
        found.predict(whole, by_kind=True)
