"""Trains vggt-tiny on rendered rooms; stops and resumes at any step."""

import dataclasses
import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from fgq.errors import FgqError
from fgq.training.objective import LOSSES
from fgq.training.optimiser import build_optimisers, initialise, set_rate, update_average
from fgq.training.settings import TrainingSettings, tiny_config
from fgq.training.stream import stream
from fgq.training.validate import validate
from fgq.vggt import VGGT
from fgq.writing import whole_file


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


def train(folder: Path, settings: TrainingSettings, threads: int | None = None) -> VGGT:
    """Runs or resumes a training in `folder`; returns the model with the averaged weights.

    The folder holds checkpoint.pt (everything a resume needs) and curve.csv (loss and validation by step).
    Raises FgqError when the folder belongs to other settings than a longer or shorter run of the same.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    model = initialise(tiny_config(), settings.seed)
    optimisers = build_optimisers(model, settings)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    step, curve, seconds = 0, [], 0.0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        step, curve, seconds = restore(checkpoint, settings, model, optimisers, average)
    started = time.perf_counter() - seconds
    bar = tqdm(total=settings.steps, initial=step, desc="training vggt-tiny", unit="step", smoothing=0.05)
    recent: dict[str, float] = {}
    for scenes in stream(settings, step):
        set_rate(optimisers, settings.rate(step))
        with torch.autocast("cpu", torch.bfloat16):
            losses = training_loss(model, scenes, settings, step)
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        update_average(average, model, settings.average, step)
        step += 1
        for task, loss in losses.items():
            recent[task] = loss.item() if task not in recent else 0.98 * recent[task] + 0.02 * loss.item()
        bar.update()
        if step % 10 == 0:
            bar.set_postfix({task: f"{value:.3f}" for task, value in recent.items()})
        if step % settings.checkpoint_every == 0 or step == settings.steps:
            elapsed = time.perf_counter() - started
            frames = settings.clip_frames(step - 1)  # of the step just made
            accuracy = validate(averaged(average), settings.validation_scenes, frames)
            row = {"step": step, "frames": frames, "seconds": elapsed, **recent, **accuracy}
            curve.append(row)
            save(checkpoint, step, curve, elapsed, settings, model, optimisers, average)
            pd.DataFrame(curve).to_csv(folder / "curve.csv", index=False)
    bar.close()
    return averaged(average)


def averaged(average: dict[str, Tensor]) -> VGGT:
    model = VGGT(tiny_config())
    model.load_state_dict(average)
    return model.eval()


def save(path: Path, step, curve, seconds, settings, model, optimisers, average) -> None:
    """So that a kill leaves the old checkpoint or the new one."""
    state = {
        "step": step,
        "curve": curve,
        "seconds": seconds,
        "settings": dataclasses.asdict(settings),
        "model": model.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "average": average,
    }
    with whole_file(path, "the checkpoint") as part:
        torch.save(state, part)


def restore(path: Path, settings, model, optimisers, average) -> tuple[int, list[dict], float]:
    saved = torch.load(path, weights_only=True)
    mine, theirs = dataclasses.asdict(settings), saved["settings"]
    # These may change on the way: they say how long to go on, not what has been learnt so far.
    free = {"steps", "pair_steps", "decay_share", "checkpoint_every", "validation_scenes"}
    changed = [name for name in mine if name not in free and mine[name] != theirs.get(name)]
    if changed:
        raise FgqError(
            f"{path} was trained with other settings: "
            + ", ".join(f"{name} {theirs.get(name)} (now {mine[name]})" for name in changed)
            + "; choose another folder or the same settings"
        )
    model.load_state_dict(saved["model"])
    for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
        optimiser.load_state_dict(state)
    with torch.no_grad():
        for name, value in average.items():
            value.copy_(saved["average"][name])
    return saved["step"], saved["curve"], saved["seconds"]
