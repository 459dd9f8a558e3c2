"""What gradients say of clips of several frame counts and sizes, against each clip alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import fgq
from fgq.data.scene import Scene
from fgq.fisher.output_factors import BLOCK_OUTPUT, FactorPlan, output_factors
from fgq.fisher.sensitivity import Part, measure_sensitivity
from fgq.fisher.token_squares import output_squares, token_squares
from fgq.vggt.token_kinds import TOKEN_KINDS

SHAPES = ((2, 16, 16), (2, 16, 16), (3, 16, 24), (1, 16, 16))  # frames, height, width
PLAN = FactorPlan(1, seed=5, blocks=("F0", "G1"))


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(3)
    return [Scene(f"s{i}", torch.rand(f, 3, h, w, generator=generator)) for i, (f, h, w) in enumerate(SHAPES)]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_fisher_sums_tokens_and_averages_clips(toy_model, scenes, batch_size):
    """F = 1/N Σ over clips Σ over tokens, as published: of clips taken apart it is the mean, however long they are."""
    options = dict(estimator="hutchinson", probes=2, progress=False)
    whole = fgq.estimate_fisher(toy_model, scenes, batch_size=batch_size, **options)
    alone = [fgq.estimate_fisher(toy_model, [scene], **options) for scene in scenes]
    mean = torch.stack([table.by_kind for table in alone]).mean(0)
    torch.testing.assert_close(whole.by_kind, mean, rtol=1e-3, atol=1e-6 * mean.max().item())
    turned = fgq.estimate_fisher(toy_model, scenes[::-1], batch_size=batch_size, **options)
    torch.testing.assert_close(turned.values, whole.values, rtol=1e-3, atol=1e-6 * mean.max().item())
    assert turned.scene_names == tuple(scene.name for scene in scenes[::-1])


def test_the_fisher_of_kept_scenes_and_of_workers_is_the_same(toy_model, scenes, tmp_path):
    options = dict(batch_size=2, progress=False)
    plain = fgq.estimate_fisher(toy_model, scenes, **options)
    fgq.estimate_fisher(toy_model, scenes[1:3], cache_dir=tmp_path, **options)
    with ThreadPoolExecutor(1) as executor:
        kept = fgq.estimate_fisher(toy_model, scenes, cache_dir=tmp_path, executor=executor, **options)
    torch.testing.assert_close(kept.values, plain.values, rtol=1e-3, atol=1e-6 * plain.values.max().item())


def test_output_matrices_add_up_over_clips(toy_model, scenes):
    whole = output_factors(toy_model, scenes, PLAN, batch_size=3, progress=False)
    alone = [output_factors(toy_model, [scene], PLAN, progress=False) for scene in scenes]
    for name, sites in whole.items():
        for site, matrix in sites.items():
            summed = sum(each[name][site].blocks for each in alone)
            torch.testing.assert_close(matrix.blocks, summed, rtol=1e-3, atol=1e-5 * summed.abs().max().item())


def test_token_squares_of_all_clips_stand_in_one_row(toy_model, scenes):
    def both(clips, batch_size=1):
        squares = token_squares(toy_model, clips, PLAN, 4, batch_size, progress=False)
        outputs = output_squares(toy_model, clips, PLAN, batch_size, progress=False)
        return {(name, site): each for kind in (squares, outputs) for name in kind for site, each in kind[name].items()}

    whole, alone = both(scenes, batch_size=2), [both([scene]) for scene in scenes]
    tokens = sum(f * (toy_model.config.num_special_tokens + h * w // 64) for f, h, w in SHAPES)
    assert {name for name, _ in whole} == set(PLAN.blocks) and any(site == BLOCK_OUTPUT for _, site in whole)
    for key, squares in whole.items():
        expected = torch.cat([each[key].flatten(0, 1) for each in alone])[None]
        assert squares.shape[1] == tokens and squares.device.type == "cpu"
        torch.testing.assert_close(squares, expected, rtol=1e-3, atol=1e-6 * expected.max().item())


def test_sensitivity_averages_damage_over_clips_and_errors_over_tokens(toy_model, scenes):
    small = fgq.quantize(toy_model, recipe="rtn", progress=False)
    parts = [Part("F0"), Part("G1", kind="patch")]
    whole = measure_sensitivity(toy_model, small, scenes, parts, progress=False)
    alone = [measure_sensitivity(toy_model, small, [scene], parts, progress=False) for scene in scenes]
    for field in ("output_error", "own_metric"):
        expected = torch.stack([getattr(each, field) for each in alone]).mean(0)
        torch.testing.assert_close(getattr(whole, field), expected)
    special = toy_model.config.num_special_tokens
    counts = [(f, f * (special - 1), f * h * w // 64) for f, h, w in SHAPES]
    for kind, counted in enumerate(zip(*counts, strict=True)):
        summed = sum(count * each.errors[:, kind] for count, each in zip(counted, alone, strict=True))
        torch.testing.assert_close(whole.errors[:, kind], summed / sum(counted))
    per_frame = [sum(counted) / sum(f for f, _, _ in SHAPES) for counted in zip(*counts, strict=True)]
    assert whole.tokens.tolist() == pytest.approx(per_frame) and len(per_frame) == len(TOKEN_KINDS)


def test_an_evaluation_measures_each_clip_as_it_does_alone(toy_model, scenes):
    whole = fgq.evaluate(toy_model, scenes, reference=toy_model, batch_size=2, progress=False).frame
    assert list(dict.fromkeys(whole.scene)) == [scene.name for scene in scenes]
    for scene in scenes:
        alone = fgq.evaluate(toy_model, [scene], reference=toy_model, progress=False).frame
        mine = whole[whole.scene == scene.name]
        assert mine.metric.tolist() == alone.metric.tolist()
        torch.testing.assert_close(
            torch.tensor(mine.value.tolist()), torch.tensor(alone.value.tolist()), equal_nan=True, rtol=1e-3, atol=1e-3
        )
