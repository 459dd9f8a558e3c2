"""Ours against the straightforward twin, on vggt-tiny: python -m tests.fisher.side_by_side

Each variant works in a process of its own, taking turns over the same scenes, so that a busy machine slows both.
Prints clips per second (median over turns) and the highest memory above what the process had before.
"""

import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

import fgq
from fgq.memory.peak import PeakBytes
from tests.fisher.straightforward import straightforward_fisher

CLIPS, TURNS = 16, 5


def measure(variant: str) -> tuple[float, int]:
    """Seconds and peak bytes of one turn; the first clip runs once before."""
    torch.set_num_threads(1)
    model = fgq.load_model("vggt-tiny")
    scenes = fgq.load_scenes("playroom", split="calibration", count=CLIPS, frames=4, seed=0)
    name, _, batch = variant.partition(", batch ")

    def estimate(some):
        if name == "straightforward":
            return straightforward_fisher(model, some)
        return fgq.estimate_fisher(model, some, batch_size=int(batch or 1), progress=False)

    estimate(scenes[:1])
    with PeakBytes() as peak:
        estimate(scenes)
    return peak.seconds, peak.bytes


def main() -> None:
    variants = ("straightforward", "ours", "ours, batch 4")
    fresh = get_context("spawn")
    turns = {variant: [] for variant in variants}
    for _ in range(TURNS):
        for variant in variants:
            with ProcessPoolExecutor(1, mp_context=fresh) as executor:
                turns[variant].append(executor.submit(measure, variant).result())
    seconds = {variant: statistics.median(s for s, _ in found) for variant, found in turns.items()}
    peaks = {variant: statistics.median(b for _, b in found) for variant, found in turns.items()}
    for variant in variants:
        ratios = seconds["straightforward"] / seconds[variant], peaks[variant] / peaks["straightforward"]
        print(
            f"{variant:16s} {CLIPS / seconds[variant]:6.2f} clips/s ({ratios[0]:.2f} x)"
            f" {peaks[variant] / 1e6:7.1f} MB ({ratios[1]:.2f} x)"
        )


if __name__ == "__main__":
    main()
