"""VGGT: images of a scene to cameras, depth and point maps (arXiv:2503.11651)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from fgq.errors import FgqError
from fgq.vggt.aggregator import Aggregator
from fgq.vggt.attention import LayerScale
from fgq.vggt.camera_head import CameraHead
from fgq.vggt.config import VGGTConfig
from fgq.vggt.dense_head import DenseHead

TASKS = ("camera", "depth", "points")  # order of every table with a task axis
HEAD_BUDGET = 1 << 26  # bytes of feature maps of a dense head that are computed together
TASK_OUTPUT = {"camera": "pose_enc", "depth": "depth", "points": "world_points"}


@dataclass
class Predictions(ModelOutput):
    """What VGGT says of a clip: B clips, S frames, H × W pixels, first frame's camera as the world.

    Lengths share one arbitrary scale (vggt-tiny's is the metre of the playroom).
    """

    pose_enc: Tensor | None = None  # [B, S, 9]: translation, quaternion xyzw, vertical and horizontal FoV (radians)
    depth: Tensor | None = None  # [B, S, H, W, 1]: z-depth
    depth_conf: Tensor | None = None  # [B, S, H, W]: above 1
    world_points: Tensor | None = None  # [B, S, H, W, 3]
    world_points_conf: Tensor | None = None  # [B, S, H, W]: above 1
    pose_enc_list: tuple[Tensor, ...] | None = None  # the camera head's four iterations; the last is pose_enc
    block_outputs: tuple[Tensor, ...] | None = None  # with return_tokens: [B, S, tokens, C] each, F0, G0, F1, G1, …


class VGGT(PreTrainedModel):
    config_class = VGGTConfig
    base_model_prefix = ""
    main_input_name = "images"
    _no_split_modules = ["Block"]
    omitted_tensors: tuple[str, ...] = ()  # of the checkpoint it was loaded from: the track head's, if any
    quantization = None  # what `fgq.quantize` did to the blocks, if anything

    def __init__(self, config: VGGTConfig):
        super().__init__(config)
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(config)
        self.point_head = DenseHead(config, out_channels=4)
        self.depth_head = DenseHead(config, out_channels=2)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initial values of one module; transformers calls it for every module that no file has filled."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, LayerScale):
            nn.init.constant_(module.gamma, module.initial)
        for name, parameter in module.named_parameters(recurse=False):
            if name in ("camera_token", "register_token"):
                nn.init.normal_(parameter, std=1e-6)
            elif name in ("cls_token", "pos_embed", "register_tokens", "mask_token"):
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name == "empty_pose_tokens":
                nn.init.zeros_(parameter)

    def check_images(self, images: Tensor) -> Tensor:
        """Images as [B, S, 3, H, W]; raises FgqError for a shape that the model cannot take."""
        if images.ndim == 4:
            images = images[None]
        if images.ndim != 5 or images.shape[2] != 3 or images.shape[1] == 0:
            raise FgqError(
                f"images have shape {list(images.shape)}; expected [frames, 3, H, W] or [batch, frames, 3, H, W] in RGB"
            )
        height, width = images.shape[-2:]
        patch = self.config.patch_size
        if height % patch or width % patch or not height or not width:
            raise FgqError(
                f"images are {height} × {width} pixels; both sides must be multiples of the patch size {patch}: "
                "resize or crop them first"
            )
        return images

    def forward(
        self, images: Tensor, return_tokens: bool = False, head_budget: int | None = HEAD_BUDGET
    ) -> Predictions:
        """Images [S, 3, H, W] or [B, S, 3, H, W] in [0, 1] to `Predictions`.

        Only the block outputs that the heads read are kept, all of them with `return_tokens`. `head_budget` is
        `read_heads`'.
        """
        images = self.check_images(images)
        block_outputs = self.aggregator(images, keep=None if return_tokens else self.blocks_read())
        return self.read_heads(block_outputs, images.shape, return_tokens=return_tokens, head_budget=head_budget)

    def blocks_read(self) -> set[int]:
        """The blocks whose outputs the heads look at, by their place in running order."""
        layers = {*self.config.dpt_layers, self.config.depth - 1}
        return {block for layer in layers for block in (2 * layer, 2 * layer + 1)}

    def save(self, folder: str | Path) -> None:
        """Writes a folder that `fgq.load_model` reads, quantized blocks included."""
        from fgq.checkpoint import save  # the checkpoint knows the model; the model must not need it to run

        save(self, folder)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """As transformers does it (shards, `push_to_hub`), and with what `fgq.load_model` needs of quantized blocks."""
        from fgq.checkpoint.save import write_quantization

        super().save_pretrained(save_directory, **options)
        write_quantization(self, save_directory)

    @classmethod
    def from_pretrained(cls, name: str | Path, *arguments: Any, **options: Any) -> "VGGT":
        """As transformers does it, but strict: raises FgqError where it would fill missing tensors with random values.

        Quantized blocks are such a case: `fgq.load_model` builds them.
        """
        wants_report = options.pop("output_loading_info", False)
        model, report = super().from_pretrained(name, *arguments, output_loading_info=True, **options)
        missing = sorted(report["missing_keys"])
        if missing:
            raise FgqError(
                f"{name}: {len(missing)} tensors are missing, {missing[0]} is the first: use fgq.load_model, which "
                "builds quantized blocks too and lists what does not fit"
            )
        return (model, report) if wants_report else model

    def layer_tokens(self, block_outputs: list[Tensor], layer: int, frames: slice = slice(None)) -> Tensor:
        """Frame and global output of one layer, side by side: [frames, tokens, 2C]."""
        return torch.cat([block_outputs[2 * layer][frames], block_outputs[2 * layer + 1][frames]], dim=-1)

    def read_heads(
        self,
        block_outputs: list[Tensor],
        image_shape: tuple[int, ...],
        tasks: tuple[str, ...] = TASKS,
        return_tokens: bool = False,
        head_budget: int | None = HEAD_BUDGET,
    ) -> Predictions:
        """The heads of `tasks` on the outputs of all blocks, each [B * S, tokens, C]; only `blocks_read` are looked at.

        The dense heads take as many frames at a time as have feature maps within `head_budget` bytes, at least one
        (None: all at once). Convolutions of other batches may be summed in another order, so the outputs then agree to
        1e-5 relative. The maps come in float32 whatever the model computes in.
        """
        batch, frames, _, height, width = image_shape
        predictions = Predictions()
        if return_tokens:
            predictions.block_outputs = tuple(x.unflatten(0, (batch, frames)) for x in block_outputs)
        if "camera" in tasks:
            camera_tokens = self.layer_tokens(block_outputs, self.config.depth - 1)[:, 0]
            poses = self.camera_head(camera_tokens.unflatten(0, (batch, frames)))
            predictions.pose_enc_list = tuple(poses)
            predictions.pose_enc = poses[-1]
        if "depth" in tasks:
            raw, confidence = self.read_maps(self.depth_head, block_outputs, height, width, head_budget)
            predictions.depth = raw.exp().unflatten(0, (batch, frames))
            predictions.depth_conf = confidence.unflatten(0, (batch, frames))
        if "points" in tasks:
            raw, confidence = self.read_maps(self.point_head, block_outputs, height, width, head_budget)
            predictions.world_points = (raw.sign() * raw.abs().expm1()).unflatten(0, (batch, frames))
            predictions.world_points_conf = confidence.unflatten(0, (batch, frames))
        return predictions

    def read_maps(
        self, head: DenseHead, block_outputs: list[Tensor], height: int, width: int, budget: int | None
    ) -> tuple[Tensor, Tensor]:
        """A dense head on all frames, some at a time."""
        start, patch = self.config.num_special_tokens, self.config.patch_size
        total = len(block_outputs[2 * self.config.dpt_layers[0]])
        at_once = total if budget is None else max(1, budget // head.bytes_per_frame(height, width))
        parts = []
        for first in range(0, total, at_once):
            chosen = slice(first, first + at_once)
            levels = [self.layer_tokens(block_outputs, n, chosen)[:, start:] for n in self.config.dpt_layers]
            parts.append(head(levels, height // patch, width // patch))
        return tuple(torch.cat(maps) for maps in zip(*parts, strict=True)) if len(parts) > 1 else parts[0]
