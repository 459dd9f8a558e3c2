"""What a prediction takes: seconds, memory and bit-operations, scene by scene, as rows of the same tidy table."""

import statistics
import time

import pandas as pd
import torch

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.evaluation.evaluate import as_rows, describe, frames_hash, protocol_columns, scene_frames_hash
from fgq.evaluation.report import Report
from fgq.memory.bit_operations import bit_operations
from fgq.memory.peak import PeakBytes, synchronize
from fgq.metrics.measure import Missing
from fgq.vggt import VGGT

REPEATS = 3


@torch.inference_mode()
def measure_costs(model: VGGT, scenes: list[Scene], repeats: int = REPEATS, run: str = "") -> Report:
    """Latency (seconds), peak memory above the weights (bytes) and bit-operations of each scene's own prediction.

    The latency is the median of `repeats` forward passes after one that warms up, which is when memory is measured.
    Bit-operations are counted (see fgq.memory.bit_operations). The other two are never the same twice, so `evaluate`
    has no part in them: results that must be equal from run to run stay so. Where the system does not tell a process'
    peak, memory is an empty value with a note.
    Raises FgqError for no scenes and fewer than one repeat.
    """
    if not scenes:
        raise FgqError("no scenes to measure: load some with fgq.load_scenes")
    if repeats < 1:
        raise FgqError(f"repeats is {repeats}; it must be at least 1")
    about = {"run": run, **describe(model), "frame_list": frames_hash(scenes), **protocol_columns(scenes)}
    rows = []
    for scene in scenes:
        images = scene.images.to(model.device, model.dtype)
        memory = peak_bytes(model, images)
        seconds = statistics.median(forward_seconds(model, images) for _ in range(repeats))
        frames = scene_frames_hash(scenes, scene.name)
        counted = float(bit_operations(model, len(images), *images.shape[-2:]).bit_operations.sum())
        values = {"cost_latency": seconds, "cost_memory": memory, "cost_bit_operations": counted}
        rows += as_rows(values, scene, {**about, "frames": frames, "seconds": seconds})
    return Report(pd.DataFrame(rows))


def peak_bytes(model: VGGT, images: torch.Tensor) -> float | Missing:
    """Of one forward pass, above what was in use before it; or why it cannot be had."""
    try:
        with PeakBytes(model.device) as peak:
            model(images)
    except FgqError as error:
        model(images)
        return Missing(str(error))
    return float(peak.bytes)


def forward_seconds(model: VGGT, images: torch.Tensor) -> float:
    synchronize(model.device)
    started = time.perf_counter()
    model(images)
    synchronize(model.device)
    return time.perf_counter() - started
