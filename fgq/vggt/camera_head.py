"""The camera head: refines every frame's pose encoding over four passes of a small trunk."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgq.vggt.attention import Block, Mlp
from fgq.vggt.config import VGGTConfig

POSE_SIZE = 9  # translation 3, quaternion xyzw 4, vertical and horizontal field of view 2
NUM_ITERATIONS = 4


class CameraHead(nn.Module):
    def __init__(self, config: VGGTConfig):
        super().__init__()
        dim = 2 * config.embed_dim
        self.trunk = nn.Sequential(*(Block(dim, config.num_heads) for _ in range(config.camera_trunk_depth)))
        self.token_norm = nn.LayerNorm(dim)
        self.trunk_norm = nn.LayerNorm(dim)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_SIZE))
        self.embed_pose = nn.Linear(POSE_SIZE, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))
        self.pose_branch = Mlp(dim, dim // 2, POSE_SIZE)

    def forward(
        self, camera_tokens: Float[Tensor, "clips frames two_channels"], unrolled: bool = False
    ) -> list[Float[Tensor, "clips frames 9"]]:
        """Camera tokens of the last layer, frame and global channels side by side, to a pose encoding an iteration.

        Each iteration is told the one before it through a shift, scale and gate of the tokens, and adds to it;
        gradients pass from one to the other only if `unrolled`. As VGGT was trained they do not, so that the gradient
        of an answer is that of its last, smallest correction. Tokens are read in the head's own precision; poses add up
        in float32 at least, since the last steps are small.
        """
        camera_tokens = camera_tokens.to(self.token_norm.weight.dtype)
        batch, frames, dim = camera_tokens.shape
        tokens = self.token_norm(camera_tokens)
        normed = functional.layer_norm(tokens, (dim,), eps=1e-6)
        raw, poses = None, []
        for _ in range(NUM_ITERATIONS):
            if raw is None:
                known = self.empty_pose_tokens.expand(batch, frames, -1)
            else:
                known = raw if unrolled else raw.detach()
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(known.to(tokens.dtype))).chunk(3, dim=-1)
            refined = self.trunk(tokens + gate * (normed * (1 + scale) + shift))
            delta = self.pose_branch(self.trunk_norm(refined))
            delta = delta.to(torch.promote_types(delta.dtype, torch.float32))
            raw = delta if raw is None else known + delta
            poses.append(torch.cat([raw[..., :7], raw[..., 7:].relu()], dim=-1))
        return poses
