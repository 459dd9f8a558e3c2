"""What each use of a large model takes on a CPU: peak memory and time, measured with random weights.

Every use runs in a fresh process, since a process keeps memory that it once took. Beside the way fgq does a thing
stands the plain way, so that the difference is measured too.
"""

import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fgq.calibrate import quantize
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import estimate_fisher
from fgq.vggt import TASK_OUTPUT, TASKS, VGGT, VGGTConfig

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what to write there, see the manual page proc(5)
CALIBRATION = dict(recipe="flatquant", epochs=10, clips_per_step=2)  # with two clips: ten steps for each block


@dataclass(frozen=True)
class Cost:
    """Bytes and seconds of one use; `use` is a name in USES."""

    use: str
    dtype: str
    frames: int
    height: int  # pixels
    width: int
    weight_bytes: int  # of the model, before the use
    resting_bytes: int  # of the process with the model in it
    extra_bytes: int  # resident memory at the use's peak beyond that
    seconds: float


def random_model(config: VGGTConfig, dtype: torch.dtype, seed: int = 0) -> VGGT:
    """A model of any size whose weights are small random numbers and whose norms and scales do nothing much."""
    with torch.device("meta"):
        model = VGGT(config)
    model = model.to(dtype).to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.uniform_(-0.03, 0.03, generator=generator)
        elif name.endswith("gamma"):
            parameter.fill_(0.01)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return model


@torch.no_grad()
def predict_lean(model: VGGT, clips: list[Scene]) -> None:
    model(clips[0].images)


@torch.no_grad()
def predict_plain(model: VGGT, clips: list[Scene]) -> None:
    """All block outputs are kept, and all frames go through the dense heads at once."""
    images = model.check_images(clips[0].images)
    model.read_heads(model.aggregator(images), images.shape, frames_chunk=images.shape[1])


def fisher_lean(model: VGGT, clips: list[Scene]) -> None:
    estimate_fisher(model, clips[:1], progress=False)


def fisher_plain(model: VGGT, clips: list[Scene]) -> None:
    """One graph over everything, with gradients of all parameters, as `loss.backward()` gives them."""
    model.requires_grad_(True)
    images = model.check_images(clips[0].images).to(model.dtype)
    outputs = model.aggregator(images)
    for output in outputs:
        output.retain_grad()
    predictions = model.read_heads(outputs, images.shape)
    for task in TASKS:
        predictions[TASK_OUTPUT[task]].sum().backward(retain_graph=True)
        for output in outputs:
            output.grad.float().square().sum((0, 1))
            output.grad = None


def round_to_nearest(model: VGGT, clips: list[Scene]) -> None:
    quantize(model, recipe="rtn", progress=False)


def calibrate_in_memory(model: VGGT, clips: list[Scene]) -> None:
    quantize(model, clips, **CALIBRATION, progress=False)


def calibrate_on_disk(model: VGGT, clips: list[Scene]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        quantize(model, clips, **CALIBRATION, cache_budget=0, cache_dir=folder, progress=False)


USES: dict[str, Callable[[VGGT, list[Scene]], None]] = {
    "forward": predict_lean,
    "forward, all kept": predict_plain,
    "Fisher": fisher_lean,
    "Fisher, all gradients": fisher_plain,
    "RTN": round_to_nearest,
    "calibration": calibrate_in_memory,
    "calibration, tokens on disk": calibrate_on_disk,
}


def cost(
    use: str, config: VGGTConfig, frames: int, height: int, width: int, dtype: str = "float32", clips: int = 1
) -> Cost:
    """One use of a random model on `clips` clips of random images, in a fresh process with as many threads as this.

    Raises FgqError for an unknown use, on systems other than Linux, for what the use itself refuses, and where the
    process is killed for want of memory.
    """
    if use not in USES:
        raise FgqError(f"use {use!r} is unknown: choose one of {', '.join(USES)}")
    if not CLEAR_REFS.exists():
        raise FgqError(f"{CLEAR_REFS} does not exist: peak memory of one use can be measured on Linux only")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        job = executor.submit(
            cost_here, use, config.to_dict(), frames, height, width, dtype, clips, torch.get_num_threads()
        )
        try:
            return Cost(**job.result())
        except BrokenProcessPool as error:
            raise FgqError(
                f"{use} of {frames} frames at {width} × {height} was killed, most likely for want of memory: take "
                "fewer frames, smaller images or bfloat16"
            ) from error


def cost_here(
    use: str, sizes: dict, frames: int, height: int, width: int, dtype: str, clips: int, threads: int
) -> dict:
    torch.set_num_threads(threads)
    model = random_model(VGGTConfig(**sizes), getattr(torch, dtype))
    generator = torch.Generator().manual_seed(1)
    scenes = [Scene(f"clip {i}", torch.rand(frames, 3, height, width, generator=generator)) for i in range(clips)]
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    gc.collect()
    CLEAR_REFS.write_text(RESET_PEAK)
    resting, start = read_status("VmRSS"), time.perf_counter()
    USES[use](model, scenes)
    seconds = time.perf_counter() - start
    extra = read_status("VmHWM") - resting
    return asdict(Cost(use, dtype, frames, height, width, weights, resting, extra, seconds))


def read_status(field: str) -> int:
    """Bytes of this process: VmRSS are resident now, VmHWM at most since the last reset."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return 1024 * int(line.split()[1])
