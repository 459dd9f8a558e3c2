"""How fast this machine does what chapters are made of, at a model's shapes: measured, in some seconds."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from fgq.affine.learnable_block import LearnableBlock
from fgq.calibrate import find_recipe
from fgq.data import load_scenes
from fgq.geometry import encode_pose
from fgq.memory.forward import CPU_ATTENTION
from fgq.memory.peak import synchronize
from fgq.memory.speed import TIMED_SECONDS, convolution_speed, operations_per_second, timed_block
from fgq.metrics.measure import measure
from fgq.quant import Grid
from fgq.quant.gptq import round_by_hessian
from fgq.vggt import VGGT, Predictions
from fgq.vggt.aggregator import run_block

STEP_TOKENS = {"cpu": 1_024, "cuda": 16_384}  # at most, of a timed step: more take longer and are no faster
STARTS = "import fgq.calibrate, fgq.evaluation, fgq.plots"
LEARNER = "flatquant"  # the recipe whose step is timed; FGQ's does the same
MOST_PATCHES = {"cpu": 16, "cuda": 64}  # along a side, the same
SCORED_SIDE = 112  # pixels, at most, of the rendered scene that is scored


@dataclass(frozen=True)
class Speeds:
    """Operations a second, counted as those of a forward pass, and pixels a second; higher is faster."""

    block: float  # of a block's forward pass
    convolution: float  # of the dense heads' convolutions
    gradient: float  # forward pass of a block with its gradient behind it
    learning: float  # step of a block's calibration, optimiser and all
    elimination: float  # rounding with feedback (GPTQ): width² times rows, and width³ for the factor
    scoring: float  # pixels whose depth, points and confidence are measured against the truth
    rendering: float  # pixels of rendered scenes
    start: float  # seconds, until a fresh interpreter has what a chapter imports


def probe(model: VGGT, frames: int, height: int, width: int, dtype: torch.dtype, device: str) -> Speeds:
    """Of this machine as it is now, in some ten seconds; `model` may be on "meta"."""
    kind = "cpu" if torch.device(device).type == "cpu" else "cuda"
    rendering, scoring = scene_speeds(min(frames, 4), min(SCORED_SIDE, height), min(SCORED_SIDE, width))
    height, width = (min(side, MOST_PATCHES[kind] * model.config.patch_size) for side in (height, width))
    of_frame = model.config.num_special_tokens + (height // model.config.patch_size) * (
        width // model.config.patch_size
    )
    together = max(1, min(2 * frames, STEP_TOKENS[kind] // of_frame))
    block, tokens, layout = timed_block(model, height, width, dtype, device, together)
    block.requires_grad_(False)
    return Speeds(
        block=forward_speed(lambda: run_block(block, "F0", tokens, layout), device),
        convolution=convolution_speed(model.config, height, width, dtype, device),
        gradient=gradient_speed(lambda wanted: run_block(block, "F0", wanted, layout), tokens, device),
        learning=learning_speed(block, tokens, layout, device),
        elimination=elimination_speed(model.config.embed_dim),
        scoring=scoring,
        rendering=rendering,
        start=start_seconds(),
    )


def start_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", STARTS], check=True, capture_output=True)
    return time.perf_counter() - began


@torch.no_grad()
def forward_speed(run: Callable[[], object], device: str) -> float:
    return operations_per_second(run, device)


def gradient_speed(run: Callable[[torch.Tensor], torch.Tensor], tokens: torch.Tensor, device: str) -> float:
    def step() -> None:
        wanted = tokens.detach().requires_grad_()
        torch.autograd.grad(run(wanted).float().sum(), wanted)

    return per_second(forward_operations(lambda: run(tokens)), step, device)


def learning_speed(block: torch.nn.Module, tokens: torch.Tensor, layout, device: str) -> float:
    learner = LearnableBlock(block, find_recipe(LEARNER).block_spec())
    parameters = [*learner.transform_parameters(), *learner.clip_parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-9, fused=True)
    target = tokens.float()

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(target.device.type, torch.bfloat16, enabled=target.device.type == "cuda"):
            loss = (run_block(learner, "F0", target, layout).float() - target).square().mean()
        loss.backward()
        optimiser.step()
        learner.keep_invertible()

    return per_second(forward_operations(lambda: run_block(block, "F0", tokens, layout)), step, device)


def elimination_speed(side: int) -> float:
    weight = torch.randn(side, side, generator=torch.Generator().manual_seed(0))
    hessian = weight.double() @ weight.double().T + side * torch.eye(side, dtype=torch.float64)
    return per_second(2 * side**3, lambda: round_by_hessian(weight, hessian, Grid(4)), "cpu")


def scene_speeds(frames: int, height: int, width: int) -> tuple[float, float]:
    """Pixels a second of rendering a scene, and of measuring an answer that is nearly right."""

    def render():
        return load_scenes("playroom", split="validation", count=1, frames=frames, size=(height, width))[0]

    scene, pixels = render(), frames * height * width
    pose = encode_pose(scene.extrinsics, scene.intrinsics, scene.images.shape[-2:])
    sure = torch.ones(1, frames, height, width)
    answer = Predictions(
        pose_enc=pose[None],
        depth=1.01 * scene.depth[None, ..., None],
        depth_conf=sure,
        world_points=1.01 * scene.points[None],
        world_points_conf=sure,
    )
    return per_second(pixels, render, "cpu"), per_second(pixels, lambda: measure(answer, scene), "cpu")


def forward_operations(run: Callable[[], object]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        run()
    return counter.get_total_flops()


def per_second(amount: float, run: Callable[[], object], device: str) -> float:
    """`amount` over the fastest of some runs; other programs only ever make one slower."""
    run()  # the first call prepares the kernels
    synchronize(device)
    fastest, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < TIMED_SECONDS or fastest == float("inf"):
        began = time.perf_counter()
        run()
        synchronize(device)
        fastest = min(fastest, time.perf_counter() - began)
    return amount / fastest
