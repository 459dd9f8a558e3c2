"""VGGT: images of a scene to cameras, depth and point maps (arXiv:2503.11651)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.amp import is_autocast_available
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import ModelOutput, cached_file

import fgq
from fgq.errors import FgqError
from fgq.shards import LIMIT
from fgq.tensor_files import aligned
from fgq.vggt.aggregator import Aggregator, FrameTokens, Images
from fgq.vggt.attention import LayerScale
from fgq.vggt.camera_head import CameraHead
from fgq.vggt.config import VGGTConfig
from fgq.vggt.dense_head import DenseHead
from fgq.vggt.saved import QUANTIZATION_FILE, forget_quantization, save, write_quantization

TASKS = ("camera", "depth", "points")  # order of every table with a task axis
TASK_OUTPUT = {"camera": "pose_enc", "depth": "depth", "points": "world_points"}
HEAD_PIXELS = 2 * 224 * 224  # that the dense heads work on at a time, or one frame: they need some 1.5 kB a pixel

PLACES = ("revision", "cache_dir", "local_files_only")  # options of transformers and of `fgq.load_model`: where to look
QUIETLY = {f"_raise_exceptions_for_{what}": False for what in ("gated_repo", "missing_entries", "connection_errors")}

BlockOutputs = Sequence[Tensor] | Mapping[int, Tensor]


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

    def check_images(self, images: Tensor) -> Images:
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

    def forward(self, images: Tensor, return_tokens: bool = False, frames_chunk: int | None = None) -> Predictions:
        """Images [S, 3, H, W] or [B, S, 3, H, W] in [0, 1] to `Predictions`.

        Without `return_tokens` only the block outputs that the heads read are kept. Every part runs in the precision of
        its own weights, and the heads also under autocast: `model.aggregator.to(torch.bfloat16)` halves most of the
        memory and leaves the heads in float32. `frames_chunk` frames at a time run through blocks and dense heads,
        which changes memory alone (and rounding, below 1e-5 of the largest); usually as many as `Aggregator.outputs`
        and `read_heads` choose.
        """
        images = self.check_images(images)
        batch, frames = images.shape[:2]
        outputs = enumerate(self.aggregator.outputs(images, frames_chunk))
        kept = {index: tokens for index, tokens in outputs if return_tokens or index in self.blocks_read}
        device = images.device.type
        with torch.autocast(device, enabled=False) if is_autocast_available(device) else nullcontext():
            predictions = self.read_heads(kept, images.shape, frames_chunk=frames_chunk)
        if return_tokens:
            predictions.block_outputs = tuple(tokens.unflatten(0, (batch, frames)) for tokens in kept.values())
        return predictions

    @property
    def blocks_read(self) -> set[int]:
        """Positions, in running order, of the blocks whose outputs the heads read."""
        layers = {*self.config.dpt_layers, self.config.depth - 1}
        return {2 * layer + second for layer in layers for second in (0, 1)}

    def save(self, folder: str | Path, packed: bool = False, shard_bytes: int = LIMIT) -> None:
        """Writes a folder that `fgq.load_model` reads, quantized blocks included.

        `packed`: integer codes at their own width, not a byte each. See `fgq.vggt.saved.save`.
        """
        save(self, folder, packed, shard_bytes)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """As transformers does it (shards, `push_to_hub`), and with what `fgq.load_model` needs of quantized blocks."""
        forget_quantization(save_directory)  # no moment has new weights and the description of older ones
        super().save_pretrained(save_directory, **options)
        write_quantization(self, save_directory)

    @classmethod
    def from_pretrained(cls, name: str | Path, *arguments: Any, **options: Any) -> "VGGT":
        """As transformers does it, but strict: raises FgqError where it would fill missing tensors with random values.

        Quantized models are built by the verb `fgq.load_model`, which is given `dtype`, `device_map` as its device, and
        where to look on the hub (`revision`, `cache_dir`, `local_files_only`); other options mean nothing to it.
        """
        wants_report = options.pop("output_loading_info", False)
        places = {key: options[key] for key in PLACES if options.get(key) is not None}
        if cached_file(name, QUANTIZATION_FILE, **QUIETLY, **places) is not None:
            dtype, device = (options.get(key) for key in ("dtype", "device_map"))
            model = fgq.load_model(name, device, None if dtype == "auto" else dtype, **places)
            return (model, {}) if wants_report else model
        model, report = super().from_pretrained(name, *arguments, output_loading_info=True, **options)
        missing = sorted(report["missing_keys"])
        if missing:
            raise FgqError(
                f"{name}: {len(missing)} tensors are missing, {missing[0]} is the first: use fgq.load_model, which "
                "lists what does not fit"
            )
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = aligned(tensor.data)
        return (model, report) if wants_report else model

    def layer_tokens(self, block_outputs: BlockOutputs, layer: int, frames: slice = slice(None)) -> FrameTokens:
        """Frame and global output of one layer, side by side in the channels, or those of some frames."""
        return torch.cat([block_outputs[2 * layer][frames], block_outputs[2 * layer + 1][frames]], dim=-1)

    def read_heads(
        self,
        block_outputs: BlockOutputs,
        image_shape: tuple[int, ...],
        tasks: tuple[str, ...] = TASKS,
        frames_chunk: int | None = None,
        unrolled: bool = False,
    ) -> Predictions:
        """The heads of `tasks` on block outputs [B * S, tokens, C], by their positions in running order.

        The dense heads see `frames_chunk` frames at a time, by default as many as have 2 × 224 × 224 pixels together.
        Frames do not see one another there, so this changes memory alone (and rounding, below 1e-5 of the largest).
        With `unrolled` gradients pass through all iterations of the camera head, not through the last alone.
        Raises FgqError for a chunk of no frames.
        """
        batch, frames, _, height, width = image_shape
        grid = height // self.config.patch_size, width // self.config.patch_size
        if frames_chunk is None:
            frames_chunk = max(1, HEAD_PIXELS // (height * width))
        if frames_chunk < 1:
            raise FgqError(f"frames_chunk is {frames_chunk}; the dense heads need at least one frame at a time")
        predictions = Predictions()
        if "camera" in tasks:
            camera_tokens = torch.cat([block_outputs[2 * self.config.depth - 2 + i][:, 0] for i in (0, 1)], dim=-1)
            poses = self.camera_head(camera_tokens.unflatten(0, (batch, frames)), unrolled)
            predictions.pose_enc_list = tuple(poses)
            predictions.pose_enc = poses[-1]
        if "depth" in tasks:
            depth, confidence = self.read_dense(self.depth_head, block_outputs, grid, frames_chunk, torch.exp)
            predictions.depth = depth.unflatten(0, (batch, frames))
            predictions.depth_conf = confidence.unflatten(0, (batch, frames))
        if "points" in tasks:
            points, confidence = self.read_dense(self.point_head, block_outputs, grid, frames_chunk, signed_expm1)
            predictions.world_points = points.unflatten(0, (batch, frames))
            predictions.world_points_conf = confidence.unflatten(0, (batch, frames))
        return predictions

    def read_dense(
        self,
        head: DenseHead,
        block_outputs: BlockOutputs,
        grid: tuple[int, int],
        frames_chunk: int,
        activate: Callable[[Tensor], Tensor],
    ) -> tuple[Float[Tensor, "all_frames height width values"], Float[Tensor, "all_frames height width"]]:
        """One dense head on all frames: activated values and confidence."""
        parts = []
        for start in range(0, len(block_outputs[2 * self.config.depth - 1]), frames_chunk):
            frames = slice(start, start + frames_chunk)
            levels = [self.layer_tokens(block_outputs, layer, frames) for layer in self.config.dpt_layers]
            raw, confidence = head([tokens[:, self.config.num_special_tokens :] for tokens in levels], *grid)
            parts.append((activate(raw), confidence))
        values, confidences = zip(*parts, strict=True)
        return torch.cat(values), torch.cat(confidences)


def signed_expm1(raw: Tensor) -> Tensor:
    """Of coordinates, which may be negative and far away: sign(x) (exp |x| − 1)."""
    return raw.sign() * raw.abs().expm1()


AutoConfig.register(VGGTConfig.model_type, VGGTConfig, exist_ok=True)
AutoModel.register(VGGTConfig, VGGT, exist_ok=True)
