"""A model's sizes from config.json and from its tensors' shapes, which must agree."""

import inspect
from collections.abc import Iterable

from transformers import PretrainedConfig

from fgq.errors import FgqError
from fgq.vggt.config import VGGTConfig

SIZES = tuple(name for name in inspect.signature(VGGTConfig.__init__).parameters if name not in ("self", "kwargs"))
LISTS = {"dpt_out_channels": 4, "dpt_layers": 4}  # sizes that are lists, and how long they are
# Fields of public config.json files that are no sizes: which heads a checkpoint has, its tensors tell.
OTHER_FIELDS = {
    *("enable_camera", "enable_depth", "enable_point", "enable_track"),
    *("architectures", "auto_map", "torch_dtype", "transformers_version", "model_type"),
    *PretrainedConfig().to_dict(),
}

# The public tensor (or the prefix of numbered ones) that tells each size; none tells which layers the dense heads read.
SIZE_TENSORS = {
    "img_size": "aggregator.patch_embed.pos_embed",
    "patch_size": "aggregator.patch_embed.patch_embed.proj.weight",
    "embed_dim": "aggregator.camera_token",
    "depth": "aggregator.frame_blocks.",
    "num_heads": "aggregator.frame_blocks.0.attn.q_norm.weight",
    "encoder_depth": "aggregator.patch_embed.blocks.",
    "num_register_tokens": "aggregator.register_token",
    "camera_trunk_depth": "camera_head.trunk.",
    "dpt_features": "depth_head.scratch.layer1_rn.weight",
    "dpt_out_channels": "depth_head.projects.",
}

Shapes = dict[str, tuple[int, ...]]


def build_config(given: dict, shapes: Shapes, source: str) -> VGGTConfig:
    """The sizes that the tensors' shapes tell, completed by those in `given` (a config.json's content).

    Raises FgqError, naming `source`, for a config of another kind of model, with unknown fields, or that contradicts
    the tensors; for a size that neither tells; and for sizes that do not fit together.
    """
    kind = given.get("model_type") or VGGTConfig.model_type
    if kind != VGGTConfig.model_type:
        raise FgqError(f"{source}: config.json describes a model of type {kind!r}, not {VGGTConfig.model_type!r}")
    unknown = [name for name in given if name not in SIZES and name not in OTHER_FIELDS and not name.startswith("_")]
    if unknown:
        raise FgqError(
            f"{source}: config.json has unknown fields ({', '.join(unknown)}): correct or remove them; the sizes of a "
            f"VGGT are {', '.join(SIZES)}"
        )
    if not any(name in shapes for name in SIZE_TENSORS.values()):
        raise FgqError(
            f"{source}: holds {len(shapes)} tensors but no {SIZE_TENSORS['embed_dim']}: not a VGGT's weights"
        )
    sizes = {name: check_size(name, given[name], source) for name in SIZES if name in given}
    told = infer_sizes(shapes)
    for name, value in sizes.items():
        if name in told and told[name] != value:
            raise FgqError(
                f"{source}: config.json says {name} {value}, but the tensors ({SIZE_TENSORS[name]}) say {told[name]}: "
                "use the config.json that these weights had"
            )
    sizes = {"dpt_layers": None} | sizes | told
    for name in SIZES:
        if name not in sizes:
            raise FgqError(
                f"{source}: no tensor {SIZE_TENSORS[name]}, which would tell {name}: not a VGGT's weights, or some are "
                "missing; copy or download them again"
            )
    for name in ("depth", "encoder_depth", "camera_trunk_depth"):
        if sizes[name] > len(shapes):  # of which every block has several: do not build what cannot be filled
            raise FgqError(
                f"{source}: {name} is {sizes[name]}, for which {len(shapes)} tensors are too few: copy it again"
            )
    try:
        return VGGTConfig(**sizes)
    except FgqError as error:
        raise FgqError(f"{source}: {error}") from error


def check_size(name: str, value: object, source: str) -> int | list[int]:
    numbers = value if name in LISTS and isinstance(value, list) else [value]
    if any(type(number) is not int or number < 0 for number in numbers) or len(numbers) != LISTS.get(name, 1):
        wanted = f"a list of {LISTS[name]} whole numbers" if name in LISTS else "a whole number"
        raise FgqError(f"{source}: config.json says {name} {value!r}, which is not {wanted}: correct it")
    return value


def infer_sizes(shapes: Shapes) -> dict:
    """Every size that the shapes of public tensors tell; those of missing tensors are left out.

    The side of the position embedding's square of patches tells the image's, and the norm of the queries, which is
    shared by all heads, tells a head's channels and so the number of heads.
    """
    sizes = {}
    for name in ("depth", "encoder_depth", "camera_trunk_depth"):
        numbers = block_numbers(shapes, SIZE_TENSORS[name])
        if numbers:
            sizes[name] = 1 + max(numbers)  # a gap is a missing tensor, not a smaller model
    levels = block_numbers(shapes, SIZE_TENSORS["dpt_out_channels"])
    weights = [f"{SIZE_TENSORS['dpt_out_channels']}{level}.weight" for level in range(LISTS["dpt_out_channels"])]
    if levels and all(weight in shapes for weight in weights):
        sizes["dpt_out_channels"] = [shapes[weight][0] for weight in weights]
    # Where each size stands in its tensor's shape, and of how many axes.
    for name, axis, axes in (("patch_size", 3, 4), ("num_register_tokens", 2, 4), ("dpt_features", 0, 4)):
        shape = shapes.get(SIZE_TENSORS[name], ())
        if len(shape) == axes:
            sizes[name] = shape[axis]
    token = shapes.get(SIZE_TENSORS["embed_dim"], ())
    if len(token) == 4:
        sizes["embed_dim"] = token[-1]
    positions = shapes.get(SIZE_TENSORS["img_size"], ())
    if len(positions) == 3 and "patch_size" in sizes:
        sizes["img_size"] = round((positions[1] - 1) ** 0.5) * sizes["patch_size"]
    head = shapes.get(SIZE_TENSORS["num_heads"], ())
    if len(head) == 1 and head[0] and "embed_dim" in sizes:
        sizes["num_heads"] = sizes["embed_dim"] // head[0]
    return sizes


def block_numbers(names: Iterable[str], prefix: str) -> set[int]:
    starts = {name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)}
    return {int(start) for start in starts if start.isascii() and start.isdigit() and len(start) < 10}
