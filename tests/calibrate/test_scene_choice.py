import itertools

import numpy as np
import pytest
import torch

from fgq.calibrate import Recipe, RecipeError, quantize
from fgq.calibrate.scene_choice import (
    LARGEST_SCORE,
    choose_scenes,
    chosen_scenes,
    cluster,
    describe_scene,
    draw_evenly,
    noise_scores,
)
from fgq.data.scene import Scene


def still(name, seed, frames=3):
    """A clip whose frames are all the same picture."""
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return Scene(name, picture.expand(frames, -1, -1, -1).clone())


def moving(name, seed, frames=3):
    return Scene(name, torch.rand(frames, 3, 16, 16, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture
def pool():
    """Still and moving clips in turn, and one that is black."""
    scenes = [still(f"still{i}", i) if i % 2 else moving(f"moving{i}", i) for i in range(11)]
    return [*scenes, Scene("black", torch.zeros(3, 3, 16, 16))]


def test_a_clip_is_described_as_by_hand(toy_model):
    scene = moving("one", 3)
    statistics, likeness = describe_scene(toy_model, scene)
    with torch.no_grad():
        outputs = toy_model.aggregator(scene.images[None])
    expected = []
    for output in outputs[2:]:  # the deeper half of F0, G0, F1, G1
        values = output.flatten().tolist()
        mean = sum(values) / len(values)
        expected += [mean, sum((value - mean) ** 2 for value in values) / len(values)]
    assert statistics == pytest.approx(expected, rel=1e-4)
    first, *others = (frame[toy_model.config.num_special_tokens :].flatten() for frame in outputs[-1])
    expected = [(first @ other / first.norm() / other.norm()).item() for other in others]
    assert likeness == pytest.approx(expected, rel=1e-4)


def test_scores_are_the_root_mean_square_of_z_scores():
    table = np.random.default_rng(0).normal(size=(9, 4)) * [1, 10, 0.1, 1] + [5, 0, 1, 2]
    expected = []
    for row in table:
        squares = []
        for value, column in zip(row, table.T, strict=True):
            mean = sum(column) / len(column)
            variance = sum((other - mean) ** 2 for other in column) / len(column)
            squares.append((value - mean) ** 2 / variance)
        expected.append((sum(squares) / len(squares)) ** 0.5)
    assert noise_scores(table) == pytest.approx(expected)
    assert np.square(noise_scores(table)).mean() == pytest.approx(1)


def test_a_statistic_that_all_clips_share_says_nothing():
    table = np.random.default_rng(0).normal(size=(6, 2))
    shared = np.column_stack([table, np.full(6, 0.1)])
    assert np.square(noise_scores(shared)).sum() == pytest.approx(np.square(noise_scores(table)).sum() * 2 / 3)


def inertia(features, labels):
    groups = [features[labels == label] for label in np.unique(labels)]
    return sum(np.square(group - group.mean(0)).sum() for group in groups)


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_the_tightest_of_all_partitions(seed):
    features = np.random.default_rng(seed).normal(size=(7, 2))
    best = min(inertia(features, np.array(labels)) for labels in itertools.product(range(3), repeat=7))
    found = cluster(features, 3, np.random.default_rng(seed))
    assert len(np.unique(found)) == 3 and inertia(features, found) == pytest.approx(best)


def test_equal_clips_and_clips_of_one_frame_make_one_cluster():
    generator = np.random.default_rng(0)
    assert set(cluster(np.ones((5, 2)), 3, generator)) == set(cluster(np.ones((5, 0)), 3, generator)) == {0}


@pytest.mark.parametrize("sizes", [(5, 5, 5), (1, 9, 2), (4,), (1, 1, 10)])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_draws_are_as_even_as_the_clusters_allow(sizes, count):
    labels = np.repeat(range(len(sizes)), sizes)
    drawn = draw_evenly(labels, count, np.random.default_rng(1))
    assert len(drawn) == len(set(drawn)) == count and drawn == sorted(drawn)
    taken = [sum(labels[drawn] == label) for label in range(len(sizes))]
    most = max(taken)
    assert all(number >= most - 1 or number == size for number, size in zip(taken, sizes, strict=True))


def test_every_member_of_a_cluster_is_as_likely():
    labels, counts = np.array([0] * 4 + [1] * 2), np.zeros(6)
    for seed in range(600):
        counts[draw_evenly(labels, 2, np.random.default_rng(seed))] += 1
    assert counts[:4] == pytest.approx(150, abs=45) and counts[4:] == pytest.approx(300, abs=50)


def test_the_odd_one_is_left_out_and_both_kinds_are_taken_alike(toy_model, pool):
    scores = noise_scores(np.stack([describe_scene(toy_model, scene)[0] for scene in pool]))
    assert scores[-1] == scores.max() > LARGEST_SCORE
    chosen = choose_scenes(toy_model, pool, 2, seed=0)
    assert [scene.name[:5] for scene in sorted(chosen, key=lambda scene: scene.name)] == ["movin", "still"]
    assert all(scene.name != "black" for seed in range(5) for scene in choose_scenes(toy_model, pool, 8, seed))
    assert len(choose_scenes(toy_model, pool, len(pool), seed=0)) == len(pool)  # when all are wanted it comes along


def test_the_seed_alone_decides(toy_model, pool):
    names = [[scene.name for scene in choose_scenes(toy_model, pool, 5, seed)] for seed in (0, 0, 1, 2, 3)]
    assert names[0] == names[1] and len(set(map(tuple, names))) > 1
    places = [[scene.name for scene in pool].index(name) for name in names[0]]
    assert places == sorted(places)


def test_recipes_say_how_many(toy_model, pool):
    assert chosen_scenes(toy_model, pool, Recipe("all"), 0) is pool
    assert list(chosen_scenes(toy_model, pool, Recipe("few", num_scenes=3), 0)) == pool[:3]
    half = chosen_scenes(toy_model, pool[:5], Recipe("half", scene_choice="filtered_diverse"), 0)
    assert len(half) == 3
    with pytest.raises(RecipeError, match="num_scenes asks for 13 of 12 scenes"):
        chosen_scenes(toy_model, pool, Recipe("many", num_scenes=13, scene_choice="filtered_diverse"), 0)
    with pytest.raises(RecipeError, match="num_scenes must be at least 1"):
        Recipe("none", num_scenes=0)


def test_calibration_sees_the_chosen_clips_alone(toy_model, pool):
    chosen = choose_scenes(toy_model, pool, 6, seed=4)
    by_recipe = quantize(toy_model, pool, "quantvggt", seed=4, progress=False)
    by_hand = quantize(toy_model, chosen, "quantvggt", seed=4, scene_choice="all", progress=False)
    state = by_hand.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in by_recipe.state_dict().items())
    everything = quantize(toy_model, pool, "quantvggt", seed=4, scene_choice="all", progress=False).state_dict()
    assert not all(torch.equal(value, everything[name]) for name, value in state.items())


def test_a_clip_that_breaks_the_model_is_named(toy_model, pool):
    toy_model.aggregator.frame_blocks[1].mlp.fc2.weight.data[0, 0] = float("nan")
    with pytest.raises(RecipeError, match="scene moving0 gives NaN or infinity"):
        choose_scenes(toy_model, pool, 2, seed=0)
