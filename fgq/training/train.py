"""Trains vggt-tiny on rendered rooms; stops and resumes at any step."""

import dataclasses
import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from fgq.errors import FgqError
from fgq.training.objective import LOSSES
from fgq.training.optimiser import average_of, build_optimisers, initialise
from fgq.training.settings import TrainingSettings, tiny_config
from fgq.training.stream import stream
from fgq.training.validate import validate
from fgq.vggt import VGGT
from fgq.writing import whole_file, write_text

# These settings may change on the way: they say how long to go on, not what has been learnt so far.
FREE = {"steps", "pair_steps", "decay_share", "checkpoint_every", "validation_scenes"}


def training_loss(model: VGGT, scenes: dict[str, Tensor], settings: TrainingSettings, step: int) -> dict[str, Tensor]:
    """Loss of each task; the dense heads see `dense_frames` frames of each clip, drawn by (seed, step)."""
    images = scenes["images"]
    batch, frames = images.shape[:2]
    outputs = model.aggregator(images)
    losses = {"camera": LOSSES["camera"](model.read_heads(outputs, images.shape, tasks=("camera",)), scenes)}
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    chosen = torch.randperm(frames, generator=generator)[: settings.dense_frames]
    picked = [x.unflatten(0, (batch, frames))[:, chosen].flatten(0, 1) for x in outputs]
    shown = {name: scenes[name][:, chosen] for name in ("images", "depth", "points", "valid")}
    dense = model.read_heads(picked, shown["images"].shape, tasks=("depth", "points"))
    for task in ("depth", "points"):
        losses[task] = LOSSES[task](dense, shown)
    return losses


class Run:
    """All that a resume needs: weights, their average, the optimisers' state, and how far the training has come."""

    def __init__(self, settings: TrainingSettings):
        self.settings, self.step, self.curve, self.seconds = settings, 0, [], 0.0
        self.model = initialise(tiny_config(), settings.seed)
        self.average = average_of(self.model, settings.average)
        self.optimisers = build_optimisers(self.model, settings)

    @property
    def averaged(self) -> VGGT:
        return self.average.module.eval()

    def save(self, path: Path) -> None:
        content = {name: getattr(self, name) for name in ("step", "curve", "seconds")}
        content |= {"settings": dataclasses.asdict(self.settings), "model": self.model.state_dict()}
        content |= {"average": self.average.state_dict(), "optimisers": [each.state_dict() for each in self.optimisers]}
        with whole_file(path, "the checkpoint") as part:
            torch.save(content, part)

    def restore(self, path: Path) -> None:
        """Raises FgqError where the file is of other settings."""
        saved = torch.load(path, weights_only=True)
        mine, theirs = dataclasses.asdict(self.settings), saved["settings"]
        changed = [name for name in mine if name not in FREE and mine[name] != theirs.get(name)]
        if changed:
            differences = ", ".join(f"{name} {theirs.get(name)} (now {mine[name]})" for name in changed)
            raise FgqError(f"{path} was trained with other settings: {differences}; choose another folder or the same")
        self.step, self.curve, self.seconds = saved["step"], saved["curve"], saved["seconds"]
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)


def train(folder: Path, settings: TrainingSettings, threads: int | None = None) -> VGGT:
    """Runs or resumes a training in `folder`; returns the model with the averaged weights.

    The folder holds checkpoint.pt (everything a resume needs) and curve.csv (loss and validation by step).
    Raises FgqError when the folder belongs to other settings than a longer or shorter run of the same.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    run, checkpoint = Run(settings), folder / "checkpoint.pt"
    if checkpoint.exists():
        run.restore(checkpoint)
    rates = [LambdaLR(optimiser, settings.rate, last_epoch=run.step - 1) for optimiser in run.optimisers]
    started = time.perf_counter() - run.seconds
    bar = tqdm(total=settings.steps, initial=run.step, desc="training vggt-tiny", unit="step", smoothing=0.05)
    recent: dict[str, float] = {}
    for scenes in stream(settings, run.step):
        with torch.autocast("cpu", torch.bfloat16):
            losses = training_loss(run.model, scenes, settings, run.step)
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), settings.gradient_clip)
        for optimiser, rate in zip(run.optimisers, rates, strict=True):
            optimiser.step()
            optimiser.zero_grad()
            rate.step()
        run.average.update_parameters(run.model)
        run.step += 1
        for task, loss in losses.items():
            recent[task] = loss.item() if task not in recent else 0.98 * recent[task] + 0.02 * loss.item()
        bar.update()
        if run.step % 10 == 0:
            bar.set_postfix({task: f"{value:.3f}" for task, value in recent.items()})
        if run.step % settings.checkpoint_every == 0 or run.step == settings.steps:
            run.seconds = time.perf_counter() - started
            frames = settings.clip_frames(run.step - 1)  # of the step just made
            accuracy = validate(run.averaged, settings.validation_scenes, frames)
            run.curve.append({"step": run.step, "frames": frames, "seconds": run.seconds, **recent, **accuracy})
            run.save(checkpoint)
            write_text(folder / "curve.csv", pd.DataFrame(run.curve).to_csv(index=False))
    bar.close()
    return run.averaged
