"""Runs a model over scenes and measures every task."""

import time
from itertools import groupby

import pandas as pd
import torch
from tqdm import tqdm

from fgq.data.disjoint import Seen, check_disjoint
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.evaluation.report import Report
from fgq.evaluation.unread import HASH_DIGITS, frames_hash, scene_frames_hash, unread_rows
from fgq.metrics.deviation import deviations
from fgq.metrics.measure import Missing, Values, count_valid_pixels, measure
from fgq.metrics.points import FAST_CLOUDS, CloudProtocol
from fgq.metrics.table import METRICS
from fgq.vggt import TASK_OUTPUT, VGGT, Predictions


@torch.inference_mode()
def predict(model: VGGT, scenes: list[Scene], batch_size: int = 8, progress: bool = True) -> list[Predictions]:
    """Predictions of every scene on its own, each with batch size 1, on the CPU.

    Neighbouring scenes of one shape run together. Raises FgqError that names the scene and output with NaN or infinity.
    """
    if not scenes:
        raise FgqError("no scenes to predict: load some with fgq.load_scenes")
    if batch_size < 1:
        raise FgqError(f"batch_size is {batch_size}; it must be at least 1")
    found: list[Predictions] = []
    with tqdm(total=len(scenes), desc="predicting", unit="scene", disable=not progress, leave=False) as bar:
        for _, group in groupby(scenes, key=lambda scene: tuple(scene.images.shape)):
            same = list(group)
            for start in range(0, len(same), batch_size):
                chunk = same[start : start + batch_size]
                images = torch.stack([scene.images for scene in chunk]).to(model.device, model.dtype)
                output = model(images)
                for i, scene in enumerate(chunk):
                    single = {
                        name: value[i : i + 1].float().cpu()
                        for name, value in output.items()
                        if isinstance(value, torch.Tensor)
                    }
                    check_finite(single, scene)
                    found.append(Predictions(**single))
                bar.update(len(chunk))
    return found


def check_finite(outputs: dict[str, torch.Tensor], scene: Scene) -> None:
    for name in TASK_OUTPUT.values():
        if not torch.isfinite(outputs[name]).all():
            raise FgqError(f"scene {scene.name}: the model's {name} holds NaN or infinity")


def evaluate(
    model: VGGT,
    scenes: list[Scene],
    reference: VGGT | list[Predictions] | None = None,
    batch_size: int = 8,
    progress: bool = True,
    clouds: CloudProtocol = FAST_CLOUDS,
    run: str = "",
) -> Report:
    """Every metric of every scene, as a tidy `Report`; see `fgq.metrics.table` for names and units.

    Accuracy is measured where a scene has the truth for it; a scene without gets a row with an empty value and a note,
    and so does a sequence that `fgq.load_scenes` could not read: never a smaller denominator. With a `reference` (the
    full-precision model, or its `predict`ions of these scenes) the deviations from it are measured too. `clouds` says
    how many points the nearest-neighbour measures look up (FULL_CLOUDS is the published protocol, normals included),
    `run` is a free label for the rows.
    Raises FgqError for no scenes, NaN predictions, references of other scenes, and a scene that the model was
    calibrated on.
    """
    check_disjoint(seen_by(model), scenes)
    started = time.perf_counter()
    predictions = predict(model, scenes, batch_size, progress)
    seconds = (time.perf_counter() - started) / len(scenes)
    if isinstance(reference, VGGT):
        reference = predict(reference, scenes, batch_size, progress)
    if reference is not None:
        check_reference(reference, predictions, scenes)
    looked_up = clouds.points or "all"
    about = {"run": run, **describe(model), "frame_list": frames_hash(scenes), "clouds": str(looked_up)}
    rows = []
    bar = tqdm(scenes, desc="measuring", unit="scene", disable=not progress, leave=False)
    for index, (scene, prediction) in enumerate(zip(bar, predictions, strict=True)):
        values = measure(prediction, scene, clouds)
        if reference is not None:
            try:
                values |= deviations(prediction, reference[index])
            except FgqError as error:
                raise FgqError(f"scene {scene.name}: {error}") from error
        frames = scene_frames_hash(scenes, scene.name)
        rows += as_rows(values, scene, {**about, "frames": frames, "seconds": seconds})
    return Report(pd.DataFrame(rows + unread_rows(rows, scenes)))


def as_rows(values: Values, scene: Scene, about: dict) -> list[dict]:
    """One row a metric: `value`, or an empty one with a note."""
    valid_pixels = count_valid_pixels(scene)
    rows = []
    for name, value in values.items():
        metric = METRICS[name]
        missing = isinstance(value, Missing)
        rows.append(
            {
                **about,
                "dataset": scene.dataset,
                "split": scene.split,
                "scene": scene.name,
                "task": metric.task,
                "metric": name,
                "value": float("nan") if missing else value,
                "unit": scene.unit if metric.unit == "scene unit" else metric.unit,
                "higher_is_better": metric.higher_is_better,
                "valid_pixels": valid_pixels,
                "note": value.reason if missing else "",
            }
        )
    return rows


def check_reference(reference: list[Predictions], predictions: list[Predictions], scenes: list[Scene]) -> None:
    if len(reference) != len(scenes):
        raise FgqError(f"reference holds predictions of {len(reference)} scenes, but {len(scenes)} are evaluated")
    for scene, mine, theirs in zip(scenes, predictions, reference, strict=True):
        if mine.depth.shape != theirs.depth.shape:
            raise FgqError(
                f"scene {scene.name}: the reference's depth has shape {list(theirs.depth.shape)}, expected "
                f"{list(mine.depth.shape)}: predict the same scenes in the same order"
            )


def device_name(device: torch.device) -> str:
    """cpu, or a GPU with its name: where the model really ran."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def seen_by(model: VGGT) -> Seen:
    quantization = getattr(model, "quantization", None)
    return Seen() if quantization is None else quantization.seen


def describe(model: VGGT) -> dict:
    """The columns that say which model this is; full precision has 16 bits and no seed."""
    quantization = getattr(model, "quantization", None)
    seen = seen_by(model)
    about = {"model": model.name_or_path, "device": device_name(model.device), "calibration": seen.splits}
    about["calibration_list"] = seen.frame_list[:HASH_DIGITS]
    if quantization is None:
        return about | {"recipe": "full precision", "weight_bits": 16, "activation_bits": 16, "seed": -1}
    recipe = quantization.recipe
    return about | {
        "recipe": recipe.label,
        "weight_bits": recipe.weight_bits,
        "activation_bits": recipe.activation_bits,
        "seed": quantization.seed,
    }
