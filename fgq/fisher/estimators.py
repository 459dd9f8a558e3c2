"""Which scalar of the model's output is differentiated: one small function an estimator.

An estimator takes the predictions of a batch of clips, the task, and the clips, and returns one scalar, whose squared
gradient is a draw. Clips never share a token, so a sum over the batch gives every clip its own gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.geometry import encode_pose
from fgq.vggt import TASK_OUTPUT, Predictions

CONFIDENCE = {"depth": "depth_conf", "points": "world_points_conf"}


@dataclass(frozen=True)
class Clips:
    """The clips of a batch: their scenes, and one seeded generator each, whatever else is in the batch."""

    scenes: tuple[Scene, ...]
    generators: tuple[torch.Generator, ...]
    scales: tuple[float, ...] = ()  # of the scenes' truth, for estimators that look at it

    def only(self, number: int) -> "Clips":
        part = slice(number, number + 1)
        return Clips(self.scenes[part], self.generators[part], self.scales[part])

    def draw(self, how: Callable[..., Tensor], like: Tensor) -> Tensor:
        """Random numbers of the shape of `like` [clips, …], each clip's from its own generator."""
        rows = [how(like.shape[1:], generator=generator, dtype=torch.float32) for generator in self.generators]
        return torch.stack(rows).to(like)

    def signs(self, like: Tensor) -> Tensor:
        return torch.where(self.draw(torch.rand, like) < 0.5, -1.0, 1.0).to(like)


Estimator = Callable[[Predictions, str, Clips], Tensor]


def sum_of_outputs(predictions: Predictions, task: str, clips: Clips) -> Tensor:
    """The published choice: L_k is the plain sum of the task's output, so it draws nothing (arXiv:2605.15828).

    Cross terms between output elements stay in: this is the squared gradient of a sum, not a sum of squared gradients.
    """
    return predictions[TASK_OUTPUT[task]].sum()


def hutchinson(predictions: Predictions, task: str, clips: Clips) -> Tensor:
    """Σ_i v_i o_i with random signs v: its squared gradient has the mean Σ_i (∂o_i/∂h)², the diagonal of JᵀJ.

    Cross terms are there in every draw and vanish on average, as E[v_i v_j] = 0 (Hutchinson 1989; for diagonals
    Bekas, Kokiopoulou and Saad 2007). It is the Fisher of outputs with independent noise of unit variance.
    """
    output = predictions[TASK_OUTPUT[task]]
    return (clips.signs(output) * output).sum()


def likelihood(predictions: Predictions, task: str, clips: Clips) -> Tensor:
    """-log p of an answer drawn from the model's own noise, as the definition of the Fisher asks.

    VGGT trains a dense head with c·|error| - α log c (arXiv:2503.11651), c its confidence. With α the number D of
    values a pixel (1 for depth, 3 for points) that is the negative logarithm of a density, c^D exp(-c·‖error‖) up to a
    constant: noise of the scale 1/c, whose length times c is Gamma(D) and whose direction is uniform. The camera head
    has no confidence; its loss is the plain |error|, Laplace noise of scale 1, whose gradient is a random sign.
    """
    output = predictions[TASK_OUTPUT[task]]
    if task not in CONFIDENCE:
        return hutchinson(predictions, task, clips)
    confidence = predictions[CONFIDENCE[task]]
    scale, dims = confidence.detach(), output.shape[-1]
    direction = torch.nn.functional.normalize(clips.draw(torch.randn, output), dim=-1)
    length = -sum(clips.draw(torch.rand, confidence).clamp(min=1e-12).log() for _ in range(dims))
    return (scale[..., None] * direction * output).sum() + ((length - dims) / scale * confidence).sum()


def empirical(predictions: Predictions, task: str, clips: Clips) -> Tensor:
    """The same -log p of the true answer instead of a drawn one, the "empirical Fisher"; it draws nothing.

    Truth is brought to the model's scale, `clips.scales`.
    """
    losses = [
        true_pose_loss(predictions.pose_enc[index], scene, scale)
        if task == "camera"
        else true_map_loss(predictions[TASK_OUTPUT[task]][index], predictions[CONFIDENCE[task]][index], scene, scale)
        for index, (scene, scale) in enumerate(zip(clips.scenes, clips.scales, strict=True))
    ]
    return torch.stack(losses).sum()


def true_pose_loss(poses: Float[Tensor, "frames 9"], scene: Scene, scale: float) -> Tensor:
    extrinsics = torch.cat([scene.extrinsics[..., :3], scale * scene.extrinsics[..., 3:]], dim=-1)
    truth = encode_pose(extrinsics, scene.intrinsics, tuple(scene.images.shape[-2:])).to(poses)
    # q and -q are one rotation: the nearer of them is the truth.
    side = (poses[:, 3:7].detach() * truth[:, 3:7]).sum(-1, keepdim=True).sign()
    truth = torch.cat([truth[:, :3], side * truth[:, 3:7], truth[:, 7:]], dim=-1)
    return (poses - truth).abs().sum()


def true_map_loss(output: Tensor, confidence: Tensor, scene: Scene, scale: float) -> Tensor:
    truth = scene.depth[..., None] if output.shape[-1] == 1 else scene.points
    valid = scene.valid_mask
    error = output[valid] - scale * truth[valid].to(output)
    trust = confidence[valid]
    return (trust * torch.linalg.vector_norm(error, dim=-1)).sum() - output.shape[-1] * trust.log().sum()


def truth_scale(scene: Scene, depth: Float[Tensor, "frames height width"]) -> float:
    """The factor that brings the scene's truth to the model's scale: the ratio of the median depths.

    Raises FgqError for a scene without truth.
    """
    missing = [name for name in ("extrinsics", "intrinsics", "depth", "points") if getattr(scene, name) is None]
    if missing or not scene.valid_mask.any():
        what = f"no {missing[0]}" if missing else "no valid pixel"
        raise FgqError(
            f"scene {scene.name}: there is {what} to compare the answers with: the empirical Fisher needs the truth; "
            "hutchinson and likelihood do not"
        )
    valid = scene.valid_mask
    return float(depth.cpu()[valid].median() / scene.depth[valid].median())


ESTIMATORS: dict[str, Estimator] = {
    "sum_of_outputs": sum_of_outputs,
    "hutchinson": hutchinson,
    "likelihood": likelihood,
    "empirical": empirical,
}
RANDOM = {"hutchinson", "likelihood"}  # those whose draws differ
NEEDS_TRUTH = {"empirical"}
# Those that differentiate the camera as the function that it is. The published one sees its last iteration only, as
# VGGT's camera head cuts the gradient between iterations: a share of the true gradient that training made small.
UNROLLED = {"hutchinson", "likelihood", "empirical"}


def find_estimator(name: str, probes: int) -> Estimator:
    """The estimator of that name; raises FgqError for an unknown one, and for a number of probes that it cannot use."""
    if name not in ESTIMATORS:
        raise FgqError(f"no Fisher estimator is called {name!r}; choose one of {', '.join(ESTIMATORS)}")
    if probes < 1:
        raise FgqError(f"probes is {probes}; at least one is needed")
    if probes > 1 and name not in RANDOM:
        raise FgqError(f"estimator {name} draws nothing, so {probes} probes would all be the same: leave probes at 1")
    return ESTIMATORS[name]
