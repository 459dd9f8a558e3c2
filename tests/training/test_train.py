import dataclasses

import pandas as pd
import pytest
import torch

from fgq.data.playroom import render_scenes
from fgq.errors import FgqError
from fgq.geometry import encode_pose
from fgq.training import train as loop
from fgq.training.objective import CONFIDENCE_REWARD, LOSSES, dense_loss
from fgq.training.optimiser import average_of
from fgq.training.settings import TINY, TrainingSettings, tiny_config
from fgq.training.train import training_loss
from fgq.vggt import VGGT, Predictions, VGGTConfig

SHORT = TrainingSettings(pair_steps=2, steps=4, batch=2, checkpoint_every=2, validation_scenes=2, warmup_steps=2)
SMALL = TINY | dict(
    embed_dim=32, depth=2, encoder_depth=1, dpt_features=8, dpt_out_channels=(4, 8, 8, 8), dpt_layers=(0, 0, 1, 1)
)


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "tiny_config", lambda: VGGTConfig(**SMALL))
    unbroken = loop.train(tmp_path / "unbroken", SHORT).state_dict()

    def dies_at_step_3(model, scenes, settings, step):
        if step == 3:
            raise KeyboardInterrupt
        return training_loss(model, scenes, settings, step)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "training_loss", dies_at_step_3)
        loop.train(tmp_path / "broken", SHORT)
    assert pd.read_csv(tmp_path / "broken" / "curve.csv").step.tolist() == [2]
    resumed = loop.train(tmp_path / "broken", SHORT).state_dict()
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    curve = pd.read_csv(tmp_path / "broken" / "curve.csv")
    assert curve.step.tolist() == [2, 4] and curve.frames.tolist() == [2, 4]
    with pytest.raises(FgqError, match="batch 2 \\(now 3\\)"):
        loop.train(tmp_path / "broken", dataclasses.replace(SHORT, batch=3))


def test_losses_vanish_at_the_truth_and_grow_with_the_error():
    scenes = render_scenes("validation", [0, 1], 2, (64, 64))
    pose = encode_pose(scenes["extrinsics"], scenes["intrinsics"], (64, 64))
    sure = torch.ones_like(scenes["depth"])
    truth = Predictions(
        pose_enc_list=(pose, pose),
        depth=scenes["depth"][..., None],
        depth_conf=sure,
        world_points=scenes["points"],
        world_points_conf=sure,
    )
    assert all(loss(truth, scenes).item() == pytest.approx(0, abs=1e-6) for loss in LOSSES.values())
    moved = dataclasses.replace(truth, pose_enc_list=(pose, pose + torch.eye(9)[0] * 0.5))
    # Only the last of two iterations is off, by 0.5 m along one axis: weights 1 and 0.6.
    assert LOSSES["camera"](moved, scenes).item() == pytest.approx(0.5 / 1.6, rel=1e-5)
    deeper = dataclasses.replace(truth, depth=truth.depth + 0.25)
    assert LOSSES["depth"](deeper, scenes).item() == pytest.approx(0.5, rel=1e-5)  # e + c·e at confidence 1


def test_the_best_confidence_is_the_reward_over_the_error():
    error = torch.full((1000,), 0.05)
    candidates = torch.linspace(1.0, 8.0, 1000, requires_grad=True)
    loss = [dense_loss(error[:1], c[None], torch.ones(1, dtype=torch.bool)).item() for c in candidates]
    best = candidates[int(torch.tensor(loss).argmin())].item()
    assert best == pytest.approx(CONFIDENCE_REWARD / 0.05, rel=0.01)


def test_invalid_pixels_do_not_count():
    scenes = render_scenes("validation", [0], 1, (64, 64))
    wrong = scenes["depth"].clone()
    wrong[..., :32] = 100.0
    scenes["valid"][..., :32] = False
    guess = Predictions(depth=wrong[..., None], depth_conf=torch.ones_like(wrong))
    assert LOSSES["depth"](guess, scenes).item() == pytest.approx(0, abs=1e-6)


def test_the_average_forgets_its_first_steps_and_then_decays():
    layer, decay = torch.nn.Linear(1, 1, bias=False), 0.5
    average, expected = average_of(layer, decay), None
    for step, value in enumerate((3.0, 5.0, -1.0, 2.0, 7.0, 1.0, 1.0, 4.0, 0.0, 6.0, 9.0, 2.0)):
        torch.nn.init.constant_(layer.weight, value)
        average.update_parameters(layer)
        kept = min(decay, (step + 1) / (step + 10))
        expected = value if expected is None else kept * expected + (1 - kept) * value
        assert average.module.weight.item() == pytest.approx(expected)


def test_rates_warm_up_stay_and_fall_to_zero():
    settings = TrainingSettings(steps=1000, warmup_steps=100, decay_share=0.3)
    rates = [settings.rate(step) for step in range(1001)]
    assert rates[0] == 0.01 and rates[99] == rates[400] == rates[700] == 1.0
    assert rates[850] == pytest.approx(0.5) and rates[1000] == 0.0
    assert all(a <= b for a, b in zip(rates[:100], rates[1:101], strict=True))


def test_the_tiny_model_has_about_five_million_parameters():
    with torch.device("meta"):
        model = VGGT(tiny_config())
    assert 4e6 < sum(parameter.numel() for parameter in model.parameters()) < 6.5e6
    assert model.config.num_blocks == 12
