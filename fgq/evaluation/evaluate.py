"""Runs a model over scenes and measures every task; and whether it uses more than one view."""

import math
import time
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from fgq.data.disjoint import Seen, check_disjoint
from fgq.data.loaded import LoadedScenes
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.evaluation.report import Report
from fgq.evaluation.statistics import mean_interval
from fgq.metrics.depth import depth_errors
from fgq.metrics.deviation import deviations
from fgq.metrics.measure import Missing, Values, count_valid_pixels, measure
from fgq.metrics.points import FAST_CLOUDS, FULL_CLOUDS, CloudProtocol
from fgq.metrics.table import METRICS
from fgq.vggt import TASK_OUTPUT, VGGT, Predictions

HASH_DIGITS = 16  # of the 64 hexadecimal digits of a frame list's hash, in every row of a report


def frames_hash(scenes: list[Scene]) -> str:
    """The beginning of the hash of the frame list that the scenes were loaded by; empty for scenes made by hand."""
    return scenes.frame_list.hash[:HASH_DIGITS] if isinstance(scenes, LoadedScenes) else ""


def scene_frames_hash(scenes: list[Scene], name: str) -> str:
    """The same of one scene's frames alone: equal in two results exactly when they are of the same frames."""
    if not isinstance(scenes, LoadedScenes) or name not in scenes.frame_list.sequences:
        return ""
    return scenes.frame_list.only([name]).hash[:HASH_DIGITS]


def protocol_columns(scenes: list[Scene]) -> dict[str, str]:
    """By which published protocol scenes were loaded, and in what otherwise; empty where by none."""
    if not isinstance(scenes, LoadedScenes) or scenes.protocol is None:
        return {"protocol": "", "departures": ""}
    return {"protocol": scenes.protocol.name, "departures": "; ".join(scenes.departures)}


def unread_rows(rows: list[dict], scenes: list[Scene]) -> list[dict]:
    """For every sequence that failed to load, each metric of `rows` with an empty value and the reason as its note."""
    if not isinstance(scenes, LoadedScenes):
        return []
    like = {row["metric"]: row for row in rows}
    found = []
    for failure in scenes.failures:
        frames = scene_frames_hash(scenes, failure.sequence)
        empty = {"scene": failure.sequence, "value": math.nan, "valid_pixels": 0, "note": failure.reason}
        found += [row | empty | {"frames": frames} for row in like.values()]
    return found


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
                values = {name: value for name, value in output.items() if isinstance(value, torch.Tensor)}
                for i, scene in enumerate(chunk):
                    single = {name: value[i : i + 1].float().cpu() for name, value in values.items()}
                    for name in TASK_OUTPUT.values():
                        if not torch.isfinite(single[name]).all():
                            raise FgqError(f"scene {scene.name}: the model's {name} holds NaN or infinity")
                    found.append(Predictions(**single))
                bar.update(len(chunk))
    return found


def evaluate(
    model: VGGT,
    scenes: list[Scene],
    reference: VGGT | list[Predictions] | None = None,
    batch_size: int = 8,
    progress: bool = True,
    clouds: CloudProtocol | None = None,
    run: str = "",
) -> Report:
    """Every metric of every scene, as a tidy `Report`; see `fgq.metrics.table` for names and units.

    Accuracy is measured where a scene has the truth for it; a scene without gets a row with an empty value and a note,
    and so does a sequence that `fgq.load_scenes` could not read: never a smaller denominator. With a `reference` (the
    full-precision model, or its `predict`ions of these scenes) the deviations from it are measured too. `clouds` says
    how many points the nearest-neighbour measures look up: FULL_CLOUDS, normals included, where the scenes follow a
    published protocol that asks for it, else FAST_CLOUDS. `run` is a free label for the rows.
    Raises FgqError for no scenes, NaN predictions, references of other scenes, and scenes that calibrated the model.
    """
    check_disjoint(seen_by(model), scenes)
    if clouds is None:
        protocol = scenes.protocol if isinstance(scenes, LoadedScenes) else None
        clouds = FULL_CLOUDS if protocol is not None and protocol.full_clouds else FAST_CLOUDS
    started = time.perf_counter()
    predictions = predict(model, scenes, batch_size, progress)
    seconds = (time.perf_counter() - started) / len(scenes)
    if isinstance(reference, VGGT):
        reference = predict(reference, scenes, batch_size, progress)
    if reference is not None:
        check_reference(reference, predictions, scenes)
    about = {"run": run, **describe(model), "frame_list": frames_hash(scenes), "clouds": str(clouds.points or "all")}
    about |= protocol_columns(scenes)
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
    about = about | {"dataset": scene.dataset, "split": scene.split, "scene": scene.name}
    valid_pixels, rows = count_valid_pixels(scene), []
    for name, value in values.items():
        metric, note = METRICS[name], ""
        if isinstance(value, Missing):
            value, note = math.nan, value.reason
        unit = scene.unit if metric.unit == "scene unit" else metric.unit
        row = about | {"task": metric.task, "metric": name, "value": value, "unit": unit}
        rows.append(row | {"higher_is_better": metric.higher_is_better, "valid_pixels": valid_pixels, "note": note})
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


def seen_by(model: VGGT) -> Seen:
    quantization = getattr(model, "quantization", None)
    return Seen() if quantization is None else quantization.seen


def describe(model: VGGT) -> dict:
    """The columns that say which model this is and where it ran; full precision has 16 bits and no seed."""
    quantization, seen, device = getattr(model, "quantization", None), seen_by(model), model.device
    where = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    about = {"model": model.name_or_path, "device": where}
    about |= {"calibration": seen.splits, "calibration_list": seen.frame_list[:HASH_DIGITS]}
    if quantization is None:
        return about | {"recipe": "full precision", "weight_bits": 16, "activation_bits": 16, "seed": -1}
    recipe = quantization.recipe
    bits = {"weight_bits": recipe.weight_bits, "activation_bits": recipe.activation_bits}
    return about | {"recipe": recipe.label, **bits, "seed": quantization.seed}


def view_ablation(model: VGGT, scenes: list[Scene], batch_size: int = 8, progress: bool = False) -> pd.DataFrame:
    """Depth AbsRel of each scene's frame 0 under three kinds of company, with paired differences to the true one.

    Rows: with its own scene's frames, alone, with the next scene's frames. Columns: mean, and difference to the first
    row with its 95 % interval. Scenes may have several frame counts. Raises FgqError for fewer than two scenes or
    frames, and for images of several sizes, which no scene can take from another.
    """
    if len(scenes) < 2 or min(scene.num_frames for scene in scenes) < 2:
        raise FgqError("the view ablation needs at least 2 scenes of at least 2 frames")
    for scene in scenes:
        size, first = list(scene.images.shape[-2:]), list(scenes[0].images.shape[-2:])
        if size != first:
            raise FgqError(f"the view ablation needs images of one size: scene {scene.name} has {size}, not {first}")
    own = [scene.images for scene in scenes]
    strangers = [torch.cat([mine[:1], other[1:]]) for mine, other in zip(own, own[1:] + own[:1], strict=True)]
    company = {"own companions": own, "alone": [images[:1] for images in own], "strangers": strangers}
    errors = {}
    for name, images in company.items():
        shown = [Scene(name=s.name, images=i) for s, i in zip(scenes, images, strict=True)]
        pairs = zip(predict(model, shown, batch_size, progress), scenes, strict=True)
        found = [depth_errors(p.depth[0, 0, ..., 0], s.depth[0], s.valid_mask[0]) for p, s in pairs]
        errors[name] = np.array([error["abs_rel"] for error in found])
    rows = {}
    for name, values in errors.items():
        difference, low, high = mean_interval((values - errors["own companions"])[None])
        rows[name] = {"depth_abs_rel of frame 0": values.mean(), "difference": difference, "low": low, "high": high}
    return pd.DataFrame(rows).T
