"""Weights into a VGGT: sizes read off the tensors, names and shapes checked, nothing skipped in silence."""

import hashlib
import inspect
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from fgq.errors import FgqError
from fgq.vggt.config import VGGTConfig
from fgq.vggt.model import VGGT

TRACK_HEAD = "track_head."  # public VGGT checkpoints carry a point tracker, which no task here uses
NAMED_AT_MOST = 3  # tensors that an error message names before it only counts
SIZES = tuple(name for name in inspect.signature(VGGTConfig.__init__).parameters if name not in ("self", "kwargs"))


def build_config(given: dict, shapes: dict[str, tuple[int, ...]], source: str) -> VGGTConfig:
    """The sizes in `given` (a config.json's content), completed by what the tensors' shapes tell.

    Raises FgqError for a config of another kind of model or sizes that do not fit together; names `source`.
    """
    kind = given.get("model_type", VGGTConfig.model_type)
    if kind != VGGTConfig.model_type:
        raise FgqError(f"{source}: config.json describes a model of type {kind!r}, not {VGGTConfig.model_type!r}")
    sizes = {name: given[name] for name in SIZES if name in given}
    if len(sizes) < len(SIZES):
        sizes = infer_sizes(shapes, source) | sizes
    return VGGTConfig(**sizes)


def infer_sizes(shapes: dict[str, tuple[int, ...]], source: str) -> dict:
    """Every field of VGGTConfig that shapes of public tensors tell: all but which layers the dense heads read.

    Raises FgqError that names the first tensor that should be there and is not.
    """

    def shape(name: str) -> tuple[int, ...]:
        if name not in shapes:
            raise FgqError(f"{source}: holds {len(shapes)} tensors but no {name}: not the weights of a VGGT")
        return shapes[name]

    embed_dim = shape("aggregator.camera_token")[-1]
    patch_size = shape("aggregator.patch_embed.patch_embed.proj.weight")[-1]
    grid = round((shape("aggregator.patch_embed.pos_embed")[1] - 1) ** 0.5)
    return {
        "img_size": grid * patch_size,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": count_blocks(shapes, "aggregator.frame_blocks."),
        "num_heads": embed_dim // shape("aggregator.frame_blocks.0.attn.q_norm.weight")[0],
        "encoder_depth": count_blocks(shapes, "aggregator.patch_embed.blocks."),
        "num_register_tokens": shape("aggregator.register_token")[2],
        "camera_trunk_depth": count_blocks(shapes, "camera_head.trunk."),
        "dpt_features": shape("depth_head.scratch.layer1_rn.weight")[0],
        "dpt_out_channels": tuple(shape(f"depth_head.projects.{level}.weight")[0] for level in range(4)),
        "dpt_layers": None,
    }


def count_blocks(names: Iterable[str], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


def empty_model(config: VGGTConfig) -> VGGT:
    """A model without storage: its tensors have shapes only, to be filled by `fill`."""
    with torch.device("meta"):
        return VGGT(config)


def fill(model: VGGT, state: dict[str, Tensor], source: str) -> VGGT:
    """Puts `state` in place of the model's tensors, whole; the tensors are taken over, not copied.

    The track head's tensors are left out, named in `model.omitted_tensors` and warned of. Raises one FgqError that
    counts all missing, unknown and misfitting tensors and names the first of each.
    """
    omitted = tuple(name for name in state if name.startswith(TRACK_HEAD))
    state = {name: tensor for name, tensor in state.items() if not name.startswith(TRACK_HEAD)}
    expected = model.state_dict()
    both = [(name, state[name], tensor) for name, tensor in expected.items() if name in state]
    faults = [
        ("missing", [name for name in expected if name not in state]),
        ("unknown", [name for name in state if name not in expected]),
        (
            "mis-shaped",
            [
                f"{name} {list(new.shape)} instead of {list(old.shape)}"
                for name, new, old in both
                if new.shape != old.shape
            ],
        ),
        (
            "of another type",
            [
                f"{name} {new.dtype} instead of {old.dtype}"
                for name, new, old in both
                if new.is_floating_point() != old.is_floating_point()
            ],
        ),
    ]
    found = "; ".join(f"{len(names)} {kind} ({first_names(names)})" for kind, names in faults if names)
    if found:
        raise FgqError(f"{source}: the tensors do not fit the model: {found}. Use the config.json these weights had")
    model.load_state_dict(state, strict=True, assign=True)
    model.omitted_tensors = omitted
    if omitted:
        warnings.warn(f"{source}: {len(omitted)} tensors of the track head are left out", stacklevel=3)
    return model


def first_names(names: list[str]) -> str:
    return ", ".join(names[:NAMED_AT_MOST]) + (", …" if len(names) > NAMED_AT_MOST else "")


def to_dtype(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Floating-point tensors in `dtype`; integer ones (codes, shapes) as they are."""
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 (64 hex digits) of every tensor's name, type, shape and bytes: equal for equal models on any device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
