"""Runs a model over scenes and measures every task."""

import time
from itertools import groupby

import pandas as pd
import torch
from tqdm import tqdm

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.evaluation.depth import depth_errors
from fgq.evaluation.deviation import deviations
from fgq.evaluation.metrics import METRICS
from fgq.evaluation.points import aligned_clouds, cloud_errors, mean_point_error
from fgq.evaluation.pose import AUC_THRESHOLDS, auc, pair_errors, recall
from fgq.evaluation.report import Report
from fgq.geometry import decode_pose, unproject
from fgq.vggt import TASK_OUTPUT, VGGT, Predictions

CLOUD_POINTS = 2000  # of a scene that nearest-neighbour measures use; Sim(3) uses all
ICP_SHARE = 0.05  # of the scene's mean distance: farther pairs do not pull


@torch.inference_mode()
def predict(model: VGGT, scenes: list[Scene], batch_size: int = 8, progress: bool = True) -> list[Predictions]:
    """Predictions of every scene on its own, each with batch size 1, on the CPU.

    Neighbouring scenes of one shape run together. Raises FgqError that names the scene and output with NaN or infinity.
    """
    if not scenes:
        raise FgqError("no scenes to predict: load some with fgq.load_scenes")
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
) -> Report:
    """Every metric of every scene, as a tidy `Report`; see `fgq.evaluation.metrics` for names and units.

    Accuracy is measured where a scene has the truth for it; a scene without gets a row with an empty value and a note,
    never a smaller denominator. With a `reference` (the full-precision model, or its `predict`ions of these scenes)
    the deviations from it are measured too. Raises FgqError for no scenes, NaN predictions, references of other scenes.
    """
    started = time.perf_counter()
    predictions = predict(model, scenes, batch_size, progress)
    seconds = (time.perf_counter() - started) / len(scenes)
    if isinstance(reference, VGGT):
        reference = predict(reference, scenes, batch_size, progress)
    if reference is not None and len(reference) != len(scenes):
        raise FgqError(f"reference holds predictions of {len(reference)} scenes, but {len(scenes)} are evaluated")
    about = describe(model)
    rows = []
    for index, (scene, prediction) in enumerate(zip(scenes, predictions, strict=True)):
        values = measure(prediction, scene)
        if reference is not None:
            values |= deviations(prediction, reference[index])
        valid_pixels = 0 if scene.depth is None else int(valid_mask(scene).sum())
        for name, value in values.items():
            metric = METRICS[name]
            note = value if isinstance(value, str) else ""
            rows.append(
                {
                    **about,
                    "dataset": scene.dataset,
                    "scene": scene.name,
                    "task": metric.task,
                    "metric": name,
                    "value": float("nan") if note else value,
                    "unit": scene.unit if metric.unit == "scene unit" else metric.unit,
                    "valid_pixels": valid_pixels,
                    "seconds": seconds,
                    "note": note,
                }
            )
    return Report(pd.DataFrame(rows))


def describe(model: VGGT) -> dict:
    """The columns that say which model this is; full precision has 16 bits and no seed."""
    quantization = getattr(model, "quantization", None)
    if quantization is None:
        return {"recipe": "full precision", "weight_bits": 16, "activation_bits": 16, "seed": -1}
    recipe = quantization.recipe
    return {
        "recipe": recipe.name,
        "weight_bits": recipe.weight_bits,
        "activation_bits": recipe.activation_bits,
        "seed": quantization.seed,
    }


def valid_mask(scene: Scene) -> torch.Tensor:
    return torch.ones_like(scene.depth, dtype=torch.bool) if scene.valid is None else scene.valid


def measure(prediction: Predictions, scene: Scene) -> dict[str, float | str]:
    """All accuracies of one scene; a metric that cannot be had is a sentence that says why."""
    values: dict[str, float | str] = {}
    extrinsics, intrinsics = decode_pose(prediction.pose_enc[0].double(), scene.images.shape[-2:])
    values |= guarded("camera", lambda: measure_pose(extrinsics, scene))
    values |= guarded("depth", lambda: measure_depth(prediction, scene))
    values |= guarded("points", lambda: measure_points(prediction, extrinsics, intrinsics, scene))
    return values


def guarded(task: str, measured) -> dict[str, float | str]:
    """The measured values, or for every metric of the task the reason why there are none."""
    try:
        return measured()
    except FgqError as error:
        accuracies = [name for name, m in METRICS.items() if m.task == task and not name.startswith("deviation_")]
        return {name: str(error) for name in accuracies}


def measure_pose(extrinsics: torch.Tensor, scene: Scene) -> dict[str, float]:
    if scene.extrinsics is None:
        raise FgqError("the scene has no true cameras")
    rotation, translation = pair_errors(extrinsics, scene.extrinsics.double())
    values = {f"pose_auc@{limit}": auc(rotation, translation, limit).item() for limit in AUC_THRESHOLDS}
    return values | {
        "pose_rra@30": recall(rotation).item(),
        "pose_rta@30": recall(translation).item(),
        "pose_rotation_error": rotation.median().item(),
        "pose_translation_error": translation.median().item(),
    }


def measure_depth(prediction: Predictions, scene: Scene) -> dict[str, float]:
    if scene.depth is None:
        raise FgqError("the scene has no true depth")
    errors = depth_errors(prediction.depth[0, ..., 0], scene.depth, valid_mask(scene))
    return {f"depth_{name}": value for name, value in errors.items()}


def measure_points(prediction: Predictions, extrinsics, intrinsics, scene: Scene) -> dict[str, float]:
    if scene.points is None:
        raise FgqError("the scene has no true points")
    valid = torch.isfinite(scene.points).all(-1) if scene.valid is None else scene.valid
    truth = scene.points[valid]
    if len(truth) < 3:
        raise FgqError(f"the scene has {len(truth)} valid points, too few to align")
    values = {"point_error": mean_point_error(prediction.world_points[0][valid], truth)}
    sources = {
        "points": prediction.world_points[0],
        "unprojected": unproject(prediction.depth[0, ..., 0].double(), extrinsics, intrinsics),
    }
    reach = ICP_SHARE * truth.norm(dim=-1).mean().item()
    for source, points in sources.items():
        errors = cloud_errors(*aligned_clouds(points[valid], truth, CLOUD_POINTS, reach))
        values |= {f"{source}_{name}": value for name, value in errors.items()}
    return values
