"""Every estimator against a truth: the full Jacobian, a closed form, or a loop that is plain."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import TOKEN_KINDS, FisherTable, estimate_fisher
from fgq.fisher.estimators import ESTIMATORS, Clips, hutchinson, likelihood
from fgq.fisher.exact import exact_fisher
from fgq.fisher.gradients import frozen, outputs_with_graph
from fgq.geometry import decode_pose
from fgq.vggt import Predictions
from fgq.vggt.aggregator import run_block

CAMERA, DEPTH, POINTS = range(3)


@pytest.fixture
def small(build_toy):
    return build_toy(
        img_size=8, embed_dim=8, depth=1, dpt_layers=(0, 0, 0, 0), dpt_features=8, dpt_out_channels=(4, 4, 4, 4)
    )


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(3)
    return [Scene(f"s{i}", torch.rand(2, 3, 8, 8, generator=generator)) for i in range(2)]


def estimate(model, scenes, estimator="hutchinson", **options):
    return estimate_fisher(model, scenes, estimator, progress=False, **options)


@pytest.mark.parametrize("estimator", ["hutchinson", "likelihood"])
def test_random_estimators_are_within_three_standard_errors_of_the_full_jacobian(small, scenes, estimator):
    """64 probes, every entry of the table: with these seeds, everywhere."""
    truth = exact_fisher(small, scenes, estimator)
    table = estimate(small, scenes, estimator, probes=64)
    distance = (table.values.double() - truth).abs() / table.standard_error
    assert torch.isfinite(distance).all() and distance.max() < (3 if estimator == "hutchinson" else 4)
    assert distance.square().mean().sqrt() > 0.5  # the errors are no larger than they should be


@torch.no_grad()
def finite_differences(model, scene, step=1e-5):
    """Σ_i (∂pose_i/∂h)² of every block, from the answers to moved tokens alone: no autograd, nothing cut."""
    images = scene.images.to(model.dtype)[None]
    layout, blocks = model.aggregator.layout(images), list(model.aggregator.blocks())
    outputs = model.aggregator(images)
    squares = torch.zeros(len(blocks), model.config.embed_dim, dtype=torch.float64)

    def pose(index, tokens):
        later = [*outputs[:index], tokens]
        for name, block in blocks[index + 1 :]:
            later.append(run_block(block, name, later[-1], layout))
        return model.read_heads(later, images.shape, tasks=("camera",)).pose_enc

    for index, tokens in enumerate(outputs):
        for position in torch.cartesian_prod(*map(torch.arange, tokens.shape)).tolist():
            move = torch.zeros_like(tokens)
            move[tuple(position)] = step
            slope = (pose(index, tokens + move) - pose(index, tokens - move)) / (2 * step)
            squares[index, position[-1]] += slope.square().sum()
    return squares


def test_the_camera_s_gradient_passes_through_every_iteration_of_its_head(small, scenes):
    """VGGT cuts the gradient between iterations; the answer depends on the tokens through all of them."""
    model, scene = small.double(), scenes[0]
    truth = finite_differences(model, scene)
    torch.testing.assert_close(exact_fisher(model, [scene])[CAMERA], truth, rtol=1e-4, atol=1e-6 * float(truth.max()))
    cut = torch.zeros_like(truth)  # as published, and as autograd has it unless told
    with frozen(model), torch.enable_grad():
        images = scene.images.double()[None]
        outputs = outputs_with_graph(model, images)
        for value in model.read_heads(outputs, images.shape, tasks=("camera",)).pose_enc.flatten():
            rows = torch.autograd.grad(value, outputs, retain_graph=True, materialize_grads=True)
            cut += torch.stack([row.square().sum((0, 1)) for row in rows])
    assert float((cut / truth).max()) < 0.9
    drawn = estimate(model, [scene], probes=64, unrolled=False)
    assert not drawn.unrolled and estimate(model, [scene], probes=1).unrolled
    distance = (drawn.values[CAMERA].double() - cut).abs() / drawn.standard_error[CAMERA]
    assert distance.max() < 4


def test_hutchinson_converges_at_the_rate_of_a_mean(small, scenes):
    truth = exact_fisher(small, scenes[:1])
    few, many = (
        torch.stack([estimate(small, scenes[:1], probes=n, seed=s).values / truth - 1 for s in range(12)])
        for n in (2, 32)
    )
    # 4, for sixteen times the probes; entries are far from independent of one another
    assert 2.5 < float(few.square().mean().sqrt() / many.square().mean().sqrt()) < 6.5


def test_the_published_sum_is_not_the_diagonal(small, scenes):
    truth = exact_fisher(small, scenes)
    published = estimate(small, scenes, "sum_of_outputs").values
    ratio = published.sum((1, 2)) / truth.sum((1, 2))
    assert (ratio[[DEPTH, POINTS]] > 5).all()  # cross terms between the pixels


def linear_predictions(matrix, inputs):
    """A depth map of 4 pixels that is linear in 3 inputs, with a confidence that is linear too."""
    values = matrix @ inputs
    return Predictions(depth=values[:4].view(1, 1, 2, 2, 1), depth_conf=values[4:].view(1, 1, 2, 2))


def mean_square(estimator, draws):
    generator = torch.Generator().manual_seed(8)
    matrix = torch.rand(8, 3, generator=generator, dtype=torch.float64)
    inputs = torch.ones(3, dtype=torch.float64, requires_grad=True)
    clips = Clips((Scene("none", torch.zeros(1, 3, 2, 2)),), (generator,))
    squares = torch.zeros(3, dtype=torch.float64)
    for _ in range(draws):
        (gradient,) = torch.autograd.grad(estimator(linear_predictions(matrix, inputs), "depth", clips), inputs)
        squares += gradient**2 / draws
    return matrix, matrix @ inputs.detach(), squares


def test_hutchinson_of_a_linear_model_is_the_squared_matrix():
    """All 16 sign patterns are likely among many draws, and their mean is exact in the limit."""
    matrix, _, squares = mean_square(hutchinson, 4000)
    torch.testing.assert_close(squares, matrix[:4].square().sum(0), rtol=0.1, atol=0)


def test_likelihood_of_a_linear_model_is_the_information_of_laplace_noise():
    matrix, values, squares = mean_square(likelihood, 4000)
    confidence = values[4:]
    truth = (confidence**2) @ matrix[:4].square() + confidence**-2 @ matrix[4:].square()
    torch.testing.assert_close(squares, truth, rtol=0.1, atol=0)


def true_scene(model, images, noise):
    """A scene whose truth is the model's own answer, plus noise."""
    with torch.no_grad():
        said = model(images)
    extrinsics, _ = decode_pose(said.pose_enc[0], images.shape[-2:])
    intrinsics = torch.tensor([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]).expand(len(images), 3, 3)
    generator = torch.Generator().manual_seed(1)
    depth = said.depth[0, ..., 0] * (1 + noise * torch.rand(said.depth.shape[1:4], generator=generator))
    points = said.world_points[0] + noise * torch.randn(said.world_points.shape[1:], generator=generator)
    return said, Scene("true", images, extrinsics=extrinsics, intrinsics=intrinsics, depth=depth, points=points)


def test_empirical_is_the_gradient_of_the_loss_against_the_truth(small, scenes):
    """Against autograd on the loss, written out pixel by pixel."""
    said, scene = true_scene(small, scenes[0].images, noise=0.2)
    scale = float(said.depth.flatten().median() / scene.depth.flatten().median())
    table = estimate(small, [scene], "empirical")
    outputs = small.aggregator(scene.images[None])
    for output in outputs:
        output.retain_grad()
    answer = small.read_heads(outputs, (1, *scene.images.shape))
    loss = 0.0
    for s in range(2):
        for y in range(8):
            for x in range(8):
                c = answer.world_points_conf[0, s, y, x]
                error = (answer.world_points[0, s, y, x] - scale * scene.points[s, y, x]).square().sum().sqrt()
                loss = loss + c * error - 3 * c.log()
    loss.backward()
    naive = torch.stack([output.grad.square().sum((0, 1)) for output in outputs])
    torch.testing.assert_close(table.values[POINTS], naive, rtol=1e-3, atol=1e-6 * float(naive.max()))


def test_empirical_takes_the_truth_at_the_model_s_scale(small, scenes):
    _, scene = true_scene(small, scenes[0].images, noise=0.1)
    far = Scene(
        "far",
        scene.images,
        extrinsics=torch.cat([scene.extrinsics[..., :3], 8 * scene.extrinsics[..., 3:]], dim=-1),
        intrinsics=scene.intrinsics,
        depth=8 * scene.depth,
        points=8 * scene.points,
    )
    one, other = (estimate(small, [s], "empirical").values for s in (scene, far))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=0)


def test_a_scene_without_truth_is_named(small, scenes):
    with pytest.raises(FgqError, match="scene s0: there is no extrinsics"):
        estimate(small, scenes, "empirical")


@pytest.mark.parametrize("estimator", ["sum_of_outputs", "hutchinson"])
def test_token_kinds_add_up_and_are_where_they_should_be(toy_model, toy_images, estimator):
    table = estimate(toy_model, [Scene("a", toy_images[0])], estimator)
    torch.testing.assert_close(table.by_kind.sum(1), table.values)
    last = table.by_kind[CAMERA, :, -1].sum(-1)  # of the last block, the camera head reads camera tokens alone
    assert last[TOKEN_KINDS.index("camera")] > 0 and last[1:].sum() == 0
    assert table.by_kind[DEPTH, TOKEN_KINDS.index("patch"), -1].sum() > 0


def test_more_probes_and_other_seeds_change_draws_only_where_there_are_any(small, scenes):
    one, again, other = (estimate(small, scenes, probes=2, seed=seed).values for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    with pytest.raises(FgqError, match="sum_of_outputs draws nothing, so 2 probes"):
        estimate(small, scenes, "sum_of_outputs", probes=2)
    with pytest.raises(FgqError, match="probes is 0"):
        estimate(small, scenes, probes=0)


def test_draws_do_not_depend_on_the_batch_or_the_order(small, scenes):
    apart = [estimate(small, [scene], probes=3).values for scene in scenes]
    together = estimate(small, scenes[::-1], probes=3, batch_size=2).values
    torch.testing.assert_close(together, (apart[0] + apart[1]) / 2, rtol=1e-4, atol=0)


def test_what_is_known_of_a_scene_is_taken_up_again(small, scenes, tmp_path, monkeypatch):
    whole = estimate(small, scenes)
    bad = Scene("bad", scenes[0].images.clone())
    bad.images[0, 0, 0, 0] = torch.nan
    with pytest.raises(FgqError, match="scene bad: the gradient of task camera"):
        estimate(small, [scenes[0], bad, scenes[1]], cache_dir=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    worked = []
    real = ESTIMATORS["hutchinson"]
    monkeypatch.setitem(ESTIMATORS, "hutchinson", lambda p, t, c: (worked.append(c.scenes[0].name), real(p, t, c))[1])
    resumed = estimate(small, scenes, cache_dir=tmp_path)
    assert set(worked) == {"s1"}
    assert torch.equal(resumed.values, whole.values) and torch.equal(resumed.standard_error, whole.standard_error)
    estimate(small, scenes, cache_dir=tmp_path, seed=1)
    assert set(worked) == {"s0", "s1"}  # nothing of another seed is taken


def test_a_kept_file_that_is_broken_is_made_again(small, scenes, tmp_path):
    whole = estimate(small, scenes, cache_dir=tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(estimate(small, scenes, cache_dir=tmp_path).values, whole.values)


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_an_executor_gives_the_same_bits(small, scenes, pool):
    alone = estimate(small, scenes, probes=2)
    executor = ThreadPoolExecutor(2) if pool == "threads" else ProcessPoolExecutor(2, mp_context=get_context("fork"))
    with executor:
        spread = estimate(small, scenes, probes=2, executor=executor)
    assert torch.equal(spread.values, alone.values) and torch.equal(spread.by_kind, alone.by_kind)


def test_half_precision_products_move_the_values_by_some_percent(small, scenes):
    full, half = (estimate(small, scenes, "sum_of_outputs", autocast=flag).values for flag in (False, True))
    assert not torch.equal(full, half)
    assert ((half - full).abs().sum((1, 2)) / full.sum((1, 2)) < 0.1).all()


def test_all_of_the_table_is_saved(small, scenes, tmp_path):
    table = estimate(small, scenes, probes=3)
    table.save(tmp_path / "table.safetensors")
    loaded = FisherTable.load(tmp_path / "table.safetensors")
    assert torch.equal(loaded.by_kind, table.by_kind) and torch.equal(loaded.standard_error, table.standard_error)
    assert loaded.probes == 3 and loaded.estimator == "hutchinson"


def test_the_exact_answer_is_known_for_two_estimators_only(small, scenes):
    with pytest.raises(FgqError, match="no exact answer to estimator 'empirical'"):
        exact_fisher(small, scenes, "empirical")


def test_threads_that_share_the_model_never_see_it_thawed(small, scenes, monkeypatch):
    seen = []
    real = ESTIMATORS["hutchinson"]

    def watch(predictions, task, clips):
        seen.append(any(parameter.requires_grad for parameter in small.parameters()))
        return real(predictions, task, clips)

    monkeypatch.setitem(ESTIMATORS, "hutchinson", watch)
    small.requires_grad_(True)
    with ThreadPoolExecutor(2) as executor:
        estimate(small, scenes * 4, probes=2, executor=executor)
    assert seen and not any(seen)
    assert all(parameter.requires_grad for parameter in small.parameters())
