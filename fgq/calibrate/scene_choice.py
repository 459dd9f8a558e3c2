"""Which of the candidate scenes calibrate a model: unusual ones dropped, the rest taken evenly from clusters.

Source: Noise-Filtered Diverse Sampling of QuantVGGT (arXiv:2509.21302, section 3.3). The paper keeps the fifth of a
pool of 400 scenes that is least unusual and draws 40 of it from 8 clusters; here a fixed bound decides, so that small
pools lose only what stands out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.cluster.vq import kmeans, vq

from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.data.scene import Scene
from fgq.vggt.model import VGGT

LARGEST_SCORE = 2.0  # root mean square of a scene's z-scores; over all scenes its mean square is 1
CLUSTERS = 8  # as in the paper
RESTARTS = 20  # of k-means, of which the tightest counts


def chosen_scenes(model: VGGT, scenes: Sequence[Scene], recipe: Recipe, seed: int) -> Sequence[Scene]:
    """The scenes that a recipe calibrates on, in the order given. Raises RecipeError when it asks for too many."""
    if recipe.scene_choice == "filtered_diverse":
        return choose_scenes(model, scenes, recipe.num_scenes or (len(scenes) + 1) // 2, seed)
    if recipe.num_scenes is None:
        return scenes
    check_count(scenes, recipe.num_scenes)
    return [scenes[index] for index in range(recipe.num_scenes)]


def choose_scenes(model: VGGT, scenes: Sequence[Scene], count: int, seed: int) -> list[Scene]:
    """`count` of the scenes, in the order given: none that is unusual as far as others suffice, evenly over clusters.

    Unusual are scenes whose `noise_scores` exceed LARGEST_SCORE; when fewer than `count` remain, those of the lowest
    scores are kept. Clusters group scenes whose later frames resemble the first one to the same degree, as far as the
    shortest scene goes. The seed alone decides what is drawn. Runs the full-precision model's blocks once on every
    scene. Raises RecipeError, also for a scene on which the model gives no finite values.
    """
    check_count(scenes, count)
    described = [describe_scene(model, scene) for scene in scenes]
    scores = noise_scores(np.stack([statistics for statistics, _ in described]))
    kept = np.flatnonzero(scores <= LARGEST_SCORE)
    if len(kept) < count:
        kept = np.sort(np.argsort(scores, kind="stable")[:count])
    generator = np.random.default_rng(seed % 2**64)
    labels = cluster(of_one_length([described[index][1] for index in kept]), min(CLUSTERS, count), generator)
    return [scenes[int(kept[index])] for index in draw_evenly(labels, count, generator)]


def check_count(scenes: Sequence[Scene], count: int) -> None:
    if not 1 <= count <= len(scenes):
        raise RecipeError(f"num_scenes asks for {count} of {len(scenes)} scenes: load more scenes, or lower num_scenes")


@torch.no_grad()
def describe_scene(model: VGGT, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the output of every block in the deeper half [2 * blocks], and the frames' likeness.

    The likeness [frames - 1] is the cosine between the first frame's patch tokens after the last block, all as one
    vector, and those of each later frame (eq. 12).
    """
    images = scene.images[None].to(model.device, model.dtype)
    statistics, tokens = [], None
    for index, output in enumerate(model.aggregator.outputs(images)):
        if index >= model.config.num_blocks // 2:
            tokens = output.double()
            statistics.append([tokens.mean().item(), tokens.var(correction=0).item()])
    if not np.isfinite(statistics).all():
        raise RecipeError(f"scene {scene.name} gives NaN or infinity in the full-precision model: leave it out")
    frames = tokens[:, model.config.num_special_tokens :].flatten(1)
    likeness = torch.nn.functional.cosine_similarity(frames[:1], frames[1:], dim=1)
    return np.ravel(statistics), likeness.cpu().numpy()


def noise_scores(statistics: np.ndarray) -> np.ndarray:
    """How unusual each scene is [scenes]: root mean square of the z-scores of its statistics [scenes, statistics].

    Statistics that all scenes share say nothing and count as 0 (eqs. 9 and 10, with a mean in place of the sum).
    """
    deviation = statistics - statistics.mean(0)
    spread = deviation.std(0)
    z = np.divide(deviation, spread, out=np.zeros_like(deviation), where=spread > 1e-12 * np.abs(statistics).max(0))
    return np.sqrt(np.square(z).mean(1))


def cluster(features: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """The number of the cluster of each row [rows] by k-means, with at most `most` clusters."""
    if features.shape[1] == 0:  # scenes of one frame have no likeness to tell them apart
        return np.zeros(len(features), int)
    number = min(most, len(np.unique(features, axis=0)))
    tried = [vq(features, kmeans(features, number, iter=1, rng=generator)[0]) for _ in range(RESTARTS)]
    return min(tried, key=lambda found: np.square(found[1]).sum())[0]


def of_one_length(likenesses: list[np.ndarray]) -> np.ndarray:
    """[scenes, frames - 1]: of scenes of more frames than the fewest, the likeness of as many at even steps."""
    fewest = min(map(len, likenesses))
    return np.stack([each[np.arange(fewest) * len(each) // max(fewest, 1)] for each in likenesses])


def draw_evenly(labels: np.ndarray, count: int, generator: np.random.Generator) -> list[int]:
    """Positions of `count` members, sorted: one at random of each cluster in turn, as long as it has any left."""
    clusters = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    turns = sorted((turn, number) for number, members in enumerate(clusters) for turn in range(len(members)))
    return sorted(int(clusters[number][turn]) for turn, number in turns[:count])
