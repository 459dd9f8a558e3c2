"""What each chapter computes, counted in its parameters: how often the model runs, learns and is measured.

The counts follow the chapters' cells; what is drawn, tabled and counted in passing is left out. A chapter that is not
here has no forecast.
"""

from collections.abc import Callable
from dataclasses import dataclass

PROBES = 8  # of an estimator that draws, unless told
TASKS = 3
LEARNING = ("flatquant", "fgq")  # what the names of recipes that learn begin with


@dataclass(frozen=True)
class Work:
    """Of clips, unless said. What is held is held at once."""

    forwards: float = 0  # through the whole model
    passes: float = 0  # through the aggregator's blocks
    heads: float = 0  # through the heads
    gradients: float = 0  # back through heads and blocks, a task and a draw each
    learned: float = 0  # times the epochs, through all blocks
    eliminated: float = 0  # models rounded with feedback
    scored: float = 0  # measured against the truth
    loaded: float = 0
    scenes: float = 0  # held
    answers: float = 0  # held
    models: float = 1  # held in full precision
    small: float = 0  # held, quantized
    saved: float = 0  # quantized models written
    input_matrices: float = 0  # held, of every layer
    output_matrices: float = 0
    processes: float = 0  # started by the chapter, each with its libraries
    seconds: float = 0  # of what does not depend on the model


def of_intro(p: dict, blocks: int) -> Work:
    return Work(forwards=2, loaded=1, scenes=1, answers=2, small=1)


def of_vggt(p: dict, blocks: int) -> Work:
    scenes = p["test_scenes"]
    return Work(
        forwards=3.3 * scenes + 6, passes=1, scored=scenes, loaded=scenes, scenes=scenes, answers=scenes, models=2.5
    )


def of_quantization(p: dict, blocks: int) -> Work:
    scenes, settings, stressed = p["test_scenes"], len(p["sweep"]), 9 * p["stress_scenes"]
    return Work(
        forwards=scenes * (2 + settings) + 2 * stressed,
        passes=30 * p["stress_clips"],
        scored=scenes * (1 + settings) + stressed,
        loaded=scenes + p["stress_clips"],
        scenes=scenes,
        answers=2 * scenes,
        models=3,
        small=10,
    )


def of_rounding(p: dict, blocks: int) -> Work:
    scenes, clips, draws = p["test_scenes"], p["calibration_clips"], len(p["seeds"])
    reports = len(p["settings"]) * (1 + draws) + draws
    return Work(
        forwards=scenes * (1 + reports),
        passes=4 * clips + 4 * clips * reports,
        eliminated=5 + len(p["dampings"]) + reports - len(p["settings"]),
        scored=scenes * reports,
        loaded=scenes + clips * (2 + reports),
        scenes=scenes + clips,
        answers=2 * scenes,
        small=1,
        input_matrices=2,
    )


def of_fisher(p: dict, blocks: int) -> Work:
    clips, compared = p["fisher_clips"], p["compared_clips"]
    return Work(
        forwards=compared + 8,
        passes=clips + 84,
        heads=84,
        gradients=TASKS * (clips + compared * (2 + 3 * p["probes"]) + 10),
        loaded=clips,
        scenes=clips,
        models=2,
        seconds=2 + 2 * p["repeats"] + 0.02 * p["exact_pixels"] ** 2,
    )


def of_sensitivity(p: dict, blocks: int) -> Work:
    clips, few = p["clips"], p["few_clips"]
    runs = blocks * (2 * clips + 7 * few + 2 * 16)  # of blocks, layers, kinds of token, groups of channels
    return Work(
        passes=0.5 * runs + 3 * clips,
        heads=runs,
        gradients=TASKS * clips * (1 + PROBES) + 36,
        loaded=clips,
        scenes=clips,
        models=3,
        small=2,
    )


def of_off_diagonal(p: dict, blocks: int) -> Work:
    scenes, clips, draws = p["test_scenes"], p["calibration_clips"], len(p["seeds"])
    reports = 4 * len(p["settings"]) * draws
    moved = 3 * len(p["perturbed_seeds"]) * p["perturbations"]
    return Work(
        forwards=scenes * (1 + reports),
        passes=2 * clips * draws + 0.5 * moved + 2 * clips * reports,
        heads=moved,
        gradients=TASKS * (clips * draws * p["probes"] + 8),
        eliminated=4 * reports,  # with both matrices it takes several times as long
        scored=scenes * reports,
        loaded=scenes + clips * draws,
        scenes=scenes + clips * draws,
        answers=2 * scenes,
        small=2,
        input_matrices=draws,
        output_matrices=draws,
    )


def of_transforms(p: dict, blocks: int) -> Work:
    clips, draws = p["ablation_clips"], len(p["seeds"])
    share = len(p["ablation_blocks"]) / blocks
    learned = 6 * draws * clips * p["ablation_epochs"] * share  # two of the eight parts learn nothing
    return Work(
        learned=learned, passes=8 * draws * clips, loaded=clips * draws, scenes=clips * draws, small=1, seconds=5
    )


def of_calibration(p: dict, blocks: int) -> Work:
    clips, draws, epochs = p["calibration_clips"], len(p["seeds"]), p["epochs"]
    return Work(
        passes=2 * draws * clips * 6,
        gradients=TASKS * p["fisher_clips"],
        learned=2 * draws * clips * epochs + 58,
        loaded=clips * draws + p["fisher_clips"],
        scenes=clips * draws,
        small=3,
        saved=2 * draws,
        processes=2,
    )


def of_evaluation(p: dict, blocks: int) -> Work:
    scenes, models = p["test_scenes"], 2 * len(p.get("calibration seeds", (0, 1)))
    few = min(64, scenes)
    return Work(
        forwards=scenes * (3 + models) + 4 * few,
        scored=scenes * (2 + models) + 2 * few,
        learned=0 if "calibration seeds" in p else 64,
        loaded=scenes,
        scenes=scenes,
        answers=2 * scenes + few,
        models=2,
        small=2,
    )


def of_ablations(p: dict, blocks: int) -> Work:
    scenes, clips, runs = p["test_scenes"], p["calibration_clips"], 2 * len(p["seeds"])
    return Work(
        forwards=scenes * (1 + runs),
        passes=5 * clips * runs,
        learned=runs * clips * p["epochs"],
        eliminated=runs / 2,
        scored=scenes * runs,
        loaded=scenes + clips * runs / 2,
        scenes=scenes + clips,
        answers=2 * scenes,
        small=1,
    )


def of_scaling(p: dict, blocks: int) -> Work:
    """Of a sweep by processes of their own; rounding to nearest has one seed, whatever the others have."""
    several = [name for name in p["recipes"] if name != "rtn"]
    points = len(p["settings"]) * (len(several) * len(p["seeds"]) + ("rtn" in p["recipes"]))
    clips, scenes, workers = p["calibration_clips"], p["test_scenes"], min(p["workers"], points)
    solving = [name for name in several if "gptq" in name or name == "guidedquant"]
    learning = [name for name in several if name.startswith(LEARNING)]
    share = points / workers  # they work side by side
    return Work(
        forwards=2 * scenes * share,
        passes=clips * share,
        eliminated=len(solving) * len(p["settings"]) * len(p["seeds"]) / workers,
        learned=15 * clips * len(learning) * len(p["settings"]) * len(p["seeds"]) / workers,
        scored=scenes * share,
        loaded=(clips + scenes) * share,
        scenes=(clips + scenes) * workers,
        answers=2 * scenes * workers,
        models=workers,
        small=workers,
        input_matrices=workers,
        processes=workers + 2,
        seconds=60,  # a dry run, and what starts the sweep twice and compares its points
    )


def of_benchmark(p: dict, blocks: int) -> Work:
    scenes, clips, settings = p["test_scenes"], p["calibration_clips"], len(p["settings"])
    runs = settings * (1 + len(p["seeds"]) * len(p["recipes"]))
    learning = settings * len(p["seeds"]) * sum(name.startswith(LEARNING) for name in p["recipes"])
    feedback = settings * len(p["seeds"]) * sum("gptq" in name for name in p["recipes"])
    return Work(
        forwards=scenes * (2 + runs),
        passes=5 * clips * runs,
        gradients=TASKS * (1 + PROBES) * clips * len(p["seeds"]),
        learned=learning * clips * p["epochs"],
        eliminated=feedback,
        scored=scenes * (1 + runs),
        loaded=scenes + clips * runs,
        scenes=(scenes + clips) * (1 + p["workers"]),
        answers=2 * scenes * (1 + p["workers"]),
        models=1 + p["workers"],
        small=p["workers"],
        processes=p["workers"],
    )


CHAPTERS: dict[str, Callable[[dict, int], Work]] = {
    "intro": of_intro,
    "vggt": of_vggt,
    "quantization": of_quantization,
    "rounding": of_rounding,
    "fisher": of_fisher,
    "sensitivity": of_sensitivity,
    "off_diagonal": of_off_diagonal,
    "transforms": of_transforms,
    "calibration": of_calibration,
    "evaluation": of_evaluation,
    "ablations": of_ablations,
    "scaling": of_scaling,
    "benchmark": of_benchmark,
}
