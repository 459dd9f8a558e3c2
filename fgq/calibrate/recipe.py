"""Recipes: what a calibration does, as values. A baseline is a recipe, not another program."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from fgq.affine.sites import SITES
from fgq.affine.spec import CLIPPING, TRANSFORMS, BlockSpec
from fgq.errors import FgqError
from fgq.fisher.estimators import ESTIMATORS
from fgq.quant.bits import BitMap
from fgq.quant.grid import Grid
from fgq.vggt import TASKS

RENAMED = {
    "clips": "num_scenes",
    "clip_choice": "scene_choice",
    "clips_per_step": "scenes_per_step",
}  # older files have


class RecipeError(FgqError):
    """A recipe, or an argument of `quantize`, that cannot be followed."""


CHOICES = {
    "transforms": TRANSFORMS,
    "start": ("random", "wush"),
    "clipping": CLIPPING,
    "rounding": ("nearest", "gptq", "gptaq", "guided", "learned", "two_sided"),
    "weighting": ("uniform", "fisher"),
    "block_inputs": ("full_precision", "quantized"),
    "qkv_clip": ("separate", "shared"),
    "token_dtype": ("float32", "bfloat16"),
    "autocast": ("off", "bfloat16"),
    "scene_choice": ("all", "filtered_diverse"),
    "encoder": ("full_precision", "nearest"),
    "camera_head": ("full_precision", "nearest"),
}


@dataclass(frozen=True)
class Recipe(BitMap):
    """Everything that decides a calibration, and so everything its checkpoint states.

    Raises RecipeError for an unknown choice or a number out of range, FgqError for bits outside 2 to 8 and 16.
    Defaults are those of the FGQ release (arXiv:2605.15828), which the paper's text overrides in one place: it gives a
    learning rate of 1e-2.
    """

    name: str
    weight_symmetric: bool = True
    activation_symmetric: bool = True
    weight_group: int | None = None  # input channels of an output channel that share a scale; None for all
    activation_group: int | None = None  # channels of a token that share a scale, before one pair of clipping factors
    transforms: str = "none"  # of the inputs of the linear layers; see fgq.affine.spec.TRANSFORMS
    start: str = "random"  # of kronecker's matrices, as published; or "wush", in closed form (fgq.affine.wush)
    clipping: str = "none"  # "learned": sigmoid factors on every range; or on those of "weights" or "activations"
    rounding: str = "nearest"  # of weights, once transforms and clips are fixed; see fgq.calibrate.round_weights
    output_damping: float | None = None  # of two_sided, times H_O's mean diagonal; None: tried on the scenes, by block
    output_probes: int = 2  # random signs a scene and task behind H_O, and behind what guided rounding weighs by
    output_groups: int = 4  # of output channels of a projection that share an H_I in guided rounding
    output_block: int | None = None  # output channels whose errors H_O relates to each other; None for all
    rounding_steps: int = 1600  # of learned rounding, for each block
    weighting: str = "uniform"  # of channels in the block loss; "fisher" needs a Fisher table
    estimator: str | None = None  # of that table: the one the recipe is meant for, and in a result the one it had
    task_weights: tuple[float, ...] = (1.0, 1.0, 1.0)  # of camera, depth and points where the Fisher is merged
    block_inputs: str = "full_precision"  # what a block reads while it is calibrated; "quantized": what it will read
    qkv_clip: str = "separate"  # q, k and v each clip their common input, or share one clip
    epochs: int = 15  # passes over the calibration scenes, for each block; 0 keeps the start
    scenes_per_step: int = 2
    learning_rate: float = 5e-3  # of the transforms
    clip_rate_factor: float = 10.0  # learning rate of the clipping logits over that of the transforms
    warmup_steps: int = 16
    weight_decay: float = 0.01  # AdamW's, on every learnable parameter
    smooth_alpha: float = 0.5  # exponent of the activations' magnitude in the diagonal's start
    token_dtype: str = "float32"  # of the cached tokens; "bfloat16" halves their memory and adds 0.2 % noise
    autocast: str = "off"  # "bfloat16" runs the matrix products of a step in bf16
    encoder: str = "full_precision"  # as published; "nearest" rounds it too, at weight_bits; see parts.py
    camera_head: str = "full_precision"  # the same
    scene_choice: str = "all"  # of the given ones; "filtered_diverse" as in scene_choice.py
    num_scenes: int | None = None  # so many calibrate: the first, or by scene_choice (where None is half)

    def __post_init__(self):
        for field, allowed in CHOICES.items():
            if getattr(self, field) not in allowed:
                raise RecipeError(f"{field} {getattr(self, field)!r} is unknown: choose {' or '.join(allowed)}")
        for field, least in (("epochs", 0), ("scenes_per_step", 1), ("warmup_steps", 0), ("weight_decay", 0)):
            if not least <= getattr(self, field) < float("inf"):
                raise RecipeError(f"{field} must be at least {least}, not {getattr(self, field)!r}")
        for field in ("learning_rate", "clip_rate_factor"):
            if not 0 < getattr(self, field) < float("inf"):
                raise RecipeError(f"{field} must be a positive number, not {getattr(self, field)!r}")
        if self.output_damping is not None and not 0 < self.output_damping < float("inf"):
            raise RecipeError(f"output_damping must be a positive number, or None, not {self.output_damping!r}")
        for field in ("output_probes", "output_groups", "rounding_steps", "output_block"):
            if getattr(self, field) is not None and getattr(self, field) < 1:
                raise RecipeError(f"{field} must be at least 1, not {getattr(self, field)!r}")
        if self.start != "random" and self.transforms != "kronecker":
            raise RecipeError(f"start {self.start!r} is for kronecker transforms, which {self.transforms!r} are not")
        if not 0 <= self.smooth_alpha <= 1:
            raise RecipeError(f"smooth_alpha must lie between 0 and 1, not {self.smooth_alpha!r}")
        if self.num_scenes is not None and self.num_scenes < 1:
            raise RecipeError(f"num_scenes must be at least 1, or None, not {self.num_scenes!r}")
        if self.estimator is not None and self.estimator not in ESTIMATORS:
            raise RecipeError(f"estimator {self.estimator!r} is unknown: choose {', '.join(ESTIMATORS)}")
        self.check_task_weights()
        self.check_sites()
        super().__post_init__()
        self.block_spec()  # the grids check the bits

    def check_task_weights(self) -> None:
        weights = self.task_weights
        numbers = all(isinstance(weight, int | float) and 0 <= weight < float("inf") for weight in weights)
        if len(weights) != len(TASKS) or not numbers or not any(weights):
            raise RecipeError(
                f"task_weights must be {len(TASKS)} numbers, for {', '.join(TASKS)}, none negative and one above 0, "
                f"not {weights!r}"
            )

    def check_sites(self) -> None:
        known = [site.name for site in SITES]
        for name in self.site_activation_bits or ():
            if name not in known:
                raise RecipeError(f"site_activation_bits names {name!r}, which is no site: choose {', '.join(known)}")

    @property
    def label(self) -> str:
        """What reports call its results: the name, parts that are rounded beside the blocks, activations' own bits."""
        parts = [part for part in ("encoder", "camera_head") if getattr(self, part) != "full_precision"]
        return " + ".join([self.name, *parts, *self.own_activations])

    @property
    def own_activations(self) -> list[str]:
        """Which activations have other bits than `activation_bits`, such as S8 and attn_in A8."""
        special = [] if self.special_activation_bits is None else [f"S{self.special_activation_bits}"]
        if self.has_activation_deal or self.layer_activation_bits:
            return ["activations by layer"]
        stated = self.site_activation_bits or {}
        return special + [f"{site.name} A{stated[site.name]}" for site in SITES if site.name in stated]

    @property
    def learns(self) -> bool:
        """Whether there is anything to fit: something is rounded, and something can adapt to it."""
        can_adapt = self.transforms == "kronecker" or self.clipping != "none"
        return self.epochs > 0 and can_adapt and (self.rounds_weights or self.rounds_activations)

    @property
    def needs_scenes(self) -> bool:
        """Whether it looks at activations at all."""
        measures = self.transforms in ("diagonal", "rotation_smoothing")
        measures |= self.transforms == "kronecker" and (self.rounds_weights or self.rounds_activations)
        return self.learns or measures or self.rounding != "nearest" or self.deals_bits

    @property
    def needs_gradients(self) -> bool:
        """Whether rounding asks for gradients at the layers' outputs."""
        return self.rounding in ("two_sided", "guided", "learned")

    @property
    def weight_grid(self) -> Grid:
        return Grid(self.weight_bits, self.weight_symmetric, "channel", self.weight_group)

    @property
    def activation_grid(self) -> Grid:
        return Grid(self.activation_bits, self.activation_symmetric, "token", self.activation_group)

    def check_groups(self, layer: str, width: int) -> None:
        """Raises RecipeError, naming the layer, when a group does not divide the width of its input."""
        for field in ("weight_group", "activation_group"):
            group = getattr(self, field)
            if group is not None and width % group:
                raise RecipeError(
                    f"{field} {group} does not divide the {width} input channels of {layer}: choose a divisor"
                )

    def block_spec(self) -> BlockSpec:
        return BlockSpec(
            weight=self.weight_grid,
            activation=self.activation_grid,
            transforms=self.transforms,
            clipping=self.clipping,
            qkv_clip=self.qkv_clip,
            layer_bits=self.layer_weight_bits,
            activation_bits=self.activations_at_sites(),
        )

    def activations_at_sites(self) -> tuple[tuple[int, int | None], ...] | None:
        """Bits of patches and special tokens at every site; None where all are `activation_bits`."""
        if self.layer_activation_bits is not None:
            return self.layer_activation_bits
        stated = self.site_activation_bits or {}
        if self.special_activation_bits is None and not stated:
            return None
        bits = (stated.get(site.name, self.activation_bits) for site in SITES)
        return tuple((patches, self.special_activation_bits) for patches in bits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; `from_dict` gives an equal recipe back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        check_fields(values)
        if "name" not in values:
            raise RecipeError("a recipe needs a name: the field is missing")
        return cls(**with_tuples(values))


NONE = type(None)
ACCEPTED = {  # of fields whose type is more than a name
    "estimator": (str, NONE),
    "task_weights": (tuple, list),
    "bit_budget": (int, float, NONE),
    "layer_weight_bits": (tuple, list, NONE),
    "block_weight_bits": (tuple, list, NONE),
    "layer_activation_bits": (tuple, list, NONE),
    "block_activation_bits": (tuple, list, NONE),
    "operation_budget": (int, float, NONE),
    "special_activation_bits": (int, NONE),
    "site_activation_bits": (dict, NONE),
    "num_scenes": (int, NONE),
    "output_damping": (int, float, NONE),
    "output_block": (int, NONE),
    "weight_group": (int, NONE),
    "activation_group": (int, NONE),
}


def with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Lists, as JSON has them, as the tuples that a recipe has."""

    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    return {name: frozen(value) for name, value in values.items()}


def check_fields(values: dict[str, Any]) -> None:
    """Raises RecipeError for a field that does not exist or a value of another type than the field's."""
    known = {field.name: field.type for field in fields(Recipe)}
    for name, value in values.items():
        if name not in known:
            hint = f"it is called {RENAMED[name]}" if name in RENAMED else f"choose from {', '.join(known)}"
            raise RecipeError(f"a recipe has no field {name}: {hint}")
        accepted = ACCEPTED.get(name) or ((int, float) if known[name] is float else known[name])
        if not isinstance(value, accepted) or (isinstance(value, bool) and known[name] is not bool):
            wanted = getattr(known[name], "__name__", str(known[name]))
            raise RecipeError(f"{name} must be of type {wanted}, not {value!r}")
