"""Ours against the straightforward twin, on vggt-tiny: python -m tests.calibrate.side_by_side [threads]

Each variant works in a process of its own, taking turns over the same blocks, clips, steps and starts. Prints clips per
second of wall clock and of CPU time (median over turns; a busy machine spoils the first more than the second), the
highest memory above what the process had before, and the mean over blocks of the final loss relative to the twin's.
Ours does what `quantize` does with a block: it also measures the losses of plain rounding and of the start, and stores
codes.
"""

import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

import fgq
from fgq.affine import LearnableBlock
from fgq.calibrate.loop import block_problems, calibrate_block
from fgq.calibrate.problem import BlockProblem, Calibration
from fgq.calibrate.token_store import TokenStore
from fgq.calibrate.tokens import TokenLayouts, embed_scenes
from fgq.memory.peak import PeakBytes
from tests.calibrate.straightforward import StraightforwardBlock, calibrate_straightforwardly, separate_clips

BLOCKS, CLIPS, EPOCHS, TURNS = ("F0", "G0", "F3", "G3"), 16, 8, 3
TWIN, OURS, SHARED = "straightforward", "ours", "ours, shared clip"


def measure(variant: str, threads: int) -> tuple[float, float, int, list[float]]:
    """Seconds, seconds of CPU, peak bytes and final losses of one turn."""
    torch.set_num_threads(threads)
    model = fgq.load_model("vggt-tiny").requires_grad_(False)
    scenes = fgq.load_scenes("playroom", split="calibration", count=CLIPS, frames=4, seed=0)
    weights = fgq.estimate_fisher(model, scenes[:4], progress=False).calibration_weights()
    clip = "shared" if variant == SHARED else "separate"
    recipe = fgq.calibrate.find_recipe("fgq", 4, 4, {"epochs": EPOCHS, "qkv_clip": clip})
    layouts = TokenLayouts(model.config, scenes[0].images, model.device)
    inputs = embed_scenes(model, scenes, recipe, model.device)
    calibration = Calibration(recipe, weights, 0, layouts)
    problems = list(block_problems(model, inputs, inputs, set(BLOCKS), calibration, TokenStore(), {}))

    def calibrate(problem: BlockProblem) -> float:
        if variant != TWIN:
            return calibrate_block(problem)[1].final_weighted_loss
        start = LearnableBlock(
            problem.block, recipe.block_spec(), problem.input_max, recipe.smooth_alpha, problem.generator
        )
        clips, targets = (separate_clips(tokens, problem.name) for tokens in (problem.inputs, problem.targets))
        rotary = layouts.of(1).arguments(problem.name, problem.inputs[:1])[1]
        twin = StraightforwardBlock(problem.block, start.state_dict(), 4, 4)
        return calibrate_straightforwardly(twin, clips, targets, rotary, weights[problem.index], EPOCHS)[1]

    with PeakBytes() as peak:
        started = time.process_time()
        losses = [calibrate(problem) for problem in problems]
        busy = time.process_time() - started
    return peak.seconds, busy, peak.bytes, losses


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    variants = (TWIN, OURS, SHARED)
    turns = {variant: [] for variant in variants}
    for _ in range(TURNS):
        for variant in variants:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
                turns[variant].append(executor.submit(measure, variant, threads).result())
    seconds, busy, peaks = (
        {variant: statistics.median(turn[column] for turn in found) for variant, found in turns.items()}
        for column in range(3)
    )
    losses = {variant: found[0][3] for variant, found in turns.items()}
    print(f"{', '.join(BLOCKS)}; {CLIPS} clips, {EPOCHS} epochs, {threads} threads, {TURNS} turns")
    count = len(BLOCKS) * CLIPS * EPOCHS
    for variant in variants:
        ratios = [ours / twin for ours, twin in zip(losses[variant], losses[TWIN], strict=True)]
        print(
            f"{variant:18s} {count / seconds[variant]:6.1f} clips/s ({seconds[TWIN] / seconds[variant]:.2f} x),"
            f" {count / busy[variant]:6.1f} by CPU time ({busy[TWIN] / busy[variant]:.2f} x),"
            f" {peaks[variant] / 1e6:5.1f} MB ({peaks[variant] / peaks[TWIN]:.2f} x),"
            f" final loss {statistics.mean(ratios):.3f} x ({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
