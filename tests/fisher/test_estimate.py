import gc

import pytest
import torch
from torch import nn

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import estimate_fisher
from fgq.fisher.estimate import batches
from fgq.fisher.gradients import clip_generator
from fgq.vggt import TASK_OUTPUT, TASKS


def make_scenes(images: torch.Tensor) -> list[Scene]:
    return [Scene(name=f"clip-{index}", images=clip) for index, clip in enumerate(images)]


def estimate(model, images, **options):
    return estimate_fisher(model, make_scenes(images), progress=False, **options)


def slow_fisher(model, images: torch.Tensor) -> torch.Tensor:
    """The definition with nothing saved: every clip and task alone, hooks, gradients of every parameter too."""
    total = torch.zeros(len(TASKS), model.config.num_blocks, model.config.embed_dim)
    for clip in images:
        for task_index, task in enumerate(TASKS):
            kept = []

            def keep(module, inputs, output, kept=kept):
                output.retain_grad()
                kept.append(output)

            handles = [block.register_forward_hook(keep) for _, block in model.aggregator.blocks()]
            model.zero_grad()
            model(clip)[TASK_OUTPUT[task]].sum().backward()
            for handle in handles:
                handle.remove()
            for block_index, output in enumerate(kept):
                for token_gradient in output.grad.flatten(0, 1):
                    total[task_index, block_index] += token_gradient**2
    model.zero_grad()
    return total / len(images)


def test_values_equal_the_reference(golden, golden_model, relative_error):
    images = golden["input.images"]
    values = estimate(golden_model, images, batch_size=2).values
    # The recording divides by forward passes, one here for all clips of the file; ours by clips.
    for task, truth in zip(values * len(images), golden["fisher.sum_of_outputs"], strict=True):
        for block, block_truth in zip(task, truth, strict=True):
            assert relative_error(block, block_truth) <= 1e-3


def test_calibration_weights_equal_the_reference(golden, golden_model):
    weights = estimate(golden_model, golden["input.images"]).calibration_weights()
    torch.testing.assert_close(weights, golden["fisher.calibration_weights"], rtol=1e-3, atol=0)


def test_values_equal_the_slow_twin(toy_model, toy_images):
    values = estimate(toy_model, toy_images).values
    torch.testing.assert_close(values, slow_fisher(toy_model, toy_images), rtol=1e-4, atol=0)


def test_values_do_not_depend_on_the_batch_size(toy_model):
    generator = torch.Generator().manual_seed(2)
    square = torch.rand(3, 2, 3, 16, 16, generator=generator)
    wide = torch.rand(2, 2, 3, 16, 32, generator=generator)
    scenes = make_scenes(square) + make_scenes(wide)
    one, two, many = (estimate_fisher(toy_model, scenes, batch_size=size, progress=False) for size in (1, 2, 8))
    torch.testing.assert_close(one.values, two.values, rtol=1e-4, atol=0)
    torch.testing.assert_close(one.values, many.values, rtol=1e-4, atol=0)


def test_batches_hold_neighbours_of_one_shape():
    scenes = make_scenes(torch.zeros(3, 1, 3, 8, 8)) + make_scenes(torch.zeros(1, 2, 3, 8, 8))
    assert list(batches(scenes + scenes[:1], 2)) == [[0, 1], [2], [3], [4]]


class LinearPose(nn.Module):
    def __init__(self, matrix: torch.Tensor):
        super().__init__()
        self.matrix = matrix

    def forward(self, tokens: torch.Tensor, unrolled: bool = False) -> list[torch.Tensor]:
        return [tokens @ self.matrix]


class Scale(nn.Module):
    def __init__(self, factor: torch.Tensor):
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor, rotary=None) -> torch.Tensor:
        return x * self.factor


def test_a_linear_model_gives_the_analytic_answer(build_toy, toy_images):
    """pose = [f, g ⊙ f] M: the gradient at G0 is M's lower row sums, at F0 the upper ones plus g times those."""
    model = build_toy(depth=1, dpt_layers=(0, 0, 0, 0))
    channels, frames = model.config.embed_dim, toy_images.shape[1]
    generator = torch.Generator().manual_seed(4)
    matrix, factor = torch.randn(2 * channels, 9, generator=generator), torch.randn(channels, generator=generator)
    model.aggregator.replace_block("G0", Scale(factor))
    model.camera_head = LinearPose(matrix)
    upper, lower = matrix.sum(1).chunk(2)
    camera = estimate(model, toy_images).values[TASKS.index("camera")]
    truth = frames * torch.stack([(upper + factor * lower) ** 2, lower**2])  # one camera token a frame
    torch.testing.assert_close(camera, truth, rtol=1e-4, atol=0)


def test_the_model_is_left_as_it_was(toy_model, toy_images):
    frozen_before = toy_model.aggregator.camera_token
    frozen_before.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in toy_model.parameters()]
    before = [parameter.clone() for parameter in toy_model.parameters()]
    estimate(toy_model, toy_images[:1])
    with pytest.raises(FgqError):
        estimate(toy_model, torch.zeros(1, 2, 3, 16, 20))  # sides that the patches do not tile
    assert [parameter.requires_grad for parameter in toy_model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in toy_model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, toy_model.parameters(), strict=True))


def test_it_works_where_gradients_are_off(toy_model, toy_images):
    with torch.no_grad():
        values = estimate(toy_model, toy_images[:1]).values
    assert torch.equal(values, estimate(toy_model, toy_images[:1]).values)


def test_no_scenes_are_refused(toy_model):
    with pytest.raises(FgqError, match="at least one scene"):
        estimate_fisher(toy_model, [])


def test_an_unknown_estimator_is_refused(toy_model, toy_images):
    with pytest.raises(FgqError, match="sum_of_outputs"):
        estimate(toy_model, toy_images, estimator="magic")


def test_a_batch_size_of_zero_is_refused(toy_model, toy_images):
    with pytest.raises(FgqError, match="batch_size is 0"):
        estimate(toy_model, toy_images, batch_size=0)


def test_a_gradient_that_is_not_finite_names_scene_and_task(toy_model, toy_images):
    toy_model.depth_head.scratch.output_conv2[2].bias.data[0] = torch.inf
    with pytest.raises(FgqError, match="scene clip-0: the gradient of task depth"):
        estimate(toy_model, toy_images, batch_size=2)


def test_an_image_gone_bad_names_its_scene(toy_model, toy_images):
    scenes = make_scenes(toy_images)
    scenes[1].images[0, 0, 0, 0] = torch.nan  # after the scene's own check
    with pytest.raises(FgqError, match="scene clip-1: the gradient of task camera"):
        estimate_fisher(toy_model, scenes, batch_size=2, progress=False)


def test_a_clips_random_numbers_follow_from_seed_and_images(toy_images):
    def draw(seed: int, scene: Scene) -> list[float]:
        return torch.rand(4, generator=clip_generator(seed, scene)).tolist()

    scenes = make_scenes(torch.stack([toy_images[0], toy_images[1], toy_images[1] + 1e-6]))
    assert draw(1, scenes[0]) == draw(1, Scene("other name", toy_images[0]))
    assert len({tuple(draw(seed, scene)) for seed in range(-1, 2) for scene in scenes}) == 9


@pytest.mark.parametrize("head, task", [("camera_head", "camera"), ("depth_head", "depth"), ("point_head", "points")])
def test_a_head_that_is_missing_names_scene_and_task(toy_model, toy_images, head, task):
    setattr(toy_model, head, None)
    with pytest.raises(FgqError, match=f"scene clip-0, task {task}: the model has no {head}"):
        estimate(toy_model, toy_images)
    delattr(toy_model, head)
    with pytest.raises(FgqError, match=f"scene clip-0, task {task}: the model has no {head}"):
        estimate(toy_model, toy_images)


def test_an_output_that_is_not_there_names_scene_and_task(toy_model, toy_images, monkeypatch):
    real = toy_model.read_heads

    def without_depth(*arguments, **options):
        predictions = real(*arguments, **options)
        predictions.depth = None
        return predictions

    monkeypatch.setattr(toy_model, "read_heads", without_depth)
    with pytest.raises(FgqError, match="scene clip-0, task depth: the model's head gives no depth"):
        estimate(toy_model, toy_images)


def test_memory_does_not_grow_with_the_number_of_blocks(build_toy, toy_images):
    """While one block goes back, nothing that another block saved for its own way back is alive."""
    alive, highest = [0], [0]

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor
            alive[0] += 1
            highest[0] = max(highest[0], alive[0])

        def __del__(self):
            alive[0] -= 1

    def saved_at_most(layers: int) -> int:
        model = build_toy(depth=layers, dpt_layers=(0, 0, layers - 1, layers - 1))
        gc.collect()
        alive[0] = highest[0] = 0
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            estimate(model, toy_images[:1])
        return highest[0]

    assert 0 < saved_at_most(12) == saved_at_most(2)
