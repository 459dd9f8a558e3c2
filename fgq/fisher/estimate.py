"""The diagonal Fisher of every block output, for every task (arXiv:2605.15828).

F_k[l, c] = 1/N Σ_n Σ_t (∂L_k / ∂h_{l,t,c})²: N clips, t all tokens of a clip, h_l the output of block l. Of clips of
several lengths every token counts the same, and the sum over a clip is larger the longer it is.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import astuple
from itertools import groupby, repeat
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor
from tqdm import tqdm

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.estimators import RANDOM, UNROLLED, find_estimator
from fgq.fisher.gradients import Job, Squares, frozen, squared_gradients
from fgq.fisher.scene_cache import SceneCache
from fgq.fisher.table import FisherTable
from fgq.vggt import TASKS, VGGT
from fgq.vggt.weights import fingerprint

DEFAULT_PROBES = 8  # draws a clip and task of an estimator that draws


def estimate_fisher(
    model: VGGT,
    scenes: list[Scene],
    estimator: str = "sum_of_outputs",
    probes: int | None = None,
    seed: int = 0,
    batch_size: int = 1,
    autocast: bool = False,
    unrolled: bool | None = None,
    executor: Executor | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> FisherTable:
    """The Fisher table of `model` on `scenes`, one clip a scene; values [task, block, channel], float32.

    `estimator` is one of ESTIMATORS; one that draws does so `probes` times a clip and task (8 unless told), and the
    table then has a standard error. A scene's draws follow from the seed and its images. `batch_size` clips of equal
    shape run together, and `autocast` runs matrix products in bfloat16; the first moves values by rounding only.
    `unrolled` differentiates the camera through every iteration of its head, and otherwise only its last correction, as
    VGGT's own training does; unless told, all estimators do the first but the published one.
    `executor` spreads batches over processes or machines, each of which gets the model; with as many threads as here
    they compute the same bits. With a `cache_dir` the numbers of each scene are kept there, and taken up by the next
    call with the same model, estimator, probes, seed and images. The model is left as it was, also after an error.

    Raises FgqError for no scenes, an unknown estimator, a scene without truth (`empirical`), and a gradient that is not
    finite, naming scene and task, after the other scenes of its batch were kept.
    """
    probes = (DEFAULT_PROBES if estimator in RANDOM else 1) if probes is None else probes
    find_estimator(estimator, probes)
    unrolled = estimator in UNROLLED if unrolled is None else unrolled
    scenes = list(scenes)
    if not scenes:
        raise FgqError("the Fisher needs at least one scene, got none: load some with fgq.load_scenes")
    if batch_size < 1:
        raise FgqError(f"batch_size is {batch_size}; at least one clip must run at a time")
    model_hash, job = fingerprint(model), Job(estimator, probes, seed, autocast, unrolled)
    cache = SceneCache(cache_dir, [model_hash, *astuple(job)])
    numbers = [cache.load(scene) for scene in scenes]
    missing = [index for index, known in enumerate(numbers) if known is None]
    groups = [[missing[i] for i in group] for group in batches([scenes[i] for i in missing], batch_size)]
    bar = tqdm(total=len(scenes), initial=len(scenes) - len(missing), desc="Fisher", unit="clip", disable=not progress)
    with frozen(model), bar:  # here too: of threads that share the model, the first to end would thaw it for the rest
        for group, squares in zip(
            groups, compute(model, [[scenes[i] for i in g] for g in groups], job, executor), strict=True
        ):
            finite = torch.isfinite(squares.by_kind).flatten(2).all(-1)
            for position, index in enumerate(group):
                if finite[position].all():
                    numbers[index] = cache.keep(scenes[index], squares.by_kind[position], squares.variance[position])
            check_finite(finite, [scenes[i].name for i in group])
            bar.update(len(group))
    by_kind = sum(known["by_kind"].double() for known in numbers) / len(scenes)
    variance = sum(known["variance"].double() for known in numbers) / len(scenes) ** 2
    return FisherTable(
        values=by_kind.sum(1).float(),
        tasks=TASKS,
        block_names=tuple(model.config.block_names),
        estimator=estimator,
        seed=seed,
        scene_names=tuple(scene.name for scene in scenes),
        model_hash=model_hash,
        probes=probes,
        unrolled=unrolled,
        by_kind=by_kind.float(),
        standard_error=variance.sqrt().float() if probes > 1 else None,
    )


def batches(scenes: list[Scene], batch_size: int) -> Iterator[list[int]]:
    """Positions of neighbouring scenes whose images have one shape, at most `batch_size` at a time."""
    for _, group in groupby(range(len(scenes)), key=lambda i: tuple(scenes[i].images.shape)):
        same = list(group)
        yield from (same[start : start + batch_size] for start in range(0, len(same), batch_size))


def compute(model: VGGT, groups: list[list[Scene]], job: Job, executor: Executor | None) -> Iterable[Squares]:
    if executor is None:
        return (squared_gradients(model, group, job) for group in groups)
    return executor.map(squared_gradients, repeat(model, len(groups)), groups, repeat(job, len(groups)))


def check_finite(finite: Bool[Tensor, "clips tasks"], scene_names: list[str]) -> None:
    if not finite.all():
        clip, task = (~finite).nonzero()[0].tolist()
        raise FgqError(
            f"scene {scene_names[clip]}: the gradient of task {TASKS[task]} holds NaN or infinity; "
            "leave the scene out, or load the model in float32"
        )
