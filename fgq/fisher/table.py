"""The Fisher table: what it holds, where it came from, and its file."""

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.errors import FgqError
from fgq.fisher.merge import WEIGHT_FLOOR, block_weights, merge_tasks, weights_of_tasks
from fgq.tensor_files import checksum, read_tensors, save_tensors
from fgq.vggt import VGGT
from fgq.vggt.weights import fingerprint
from fgq.writing import check_file, reason

FORMAT = "fgq-fisher-1"
TENSORS = ("values", "by_kind", "standard_error")
LISTS = ("tasks", "block_names", "scene_names")
KINDS = {"estimator": str, "seed": int, "model_hash": str, "versions": dict, "probes": int, "unrolled": bool}
KINDS |= dict.fromkeys(LISTS, list)


def package_versions() -> dict[str, str]:
    return {name: version(name) for name in ("fgq", "torch")}


@dataclass(frozen=True)
class FisherTable:
    """Squared gradients of each task's loss by block and channel, with all that is needed to make them again.

    Raises FgqError for values whose shape does not fit the names, or that are negative or not finite.
    """

    values: Float[Tensor, "tasks blocks channels"]  # float32, summed over tokens, mean over clips
    tasks: tuple[str, ...]
    block_names: tuple[str, ...]  # F0, G0, F1, G1, …
    estimator: str
    seed: int = 0
    scene_names: tuple[str, ...] = ()
    model_hash: str = ""  # of the model it was estimated on; empty where it is not known
    versions: dict[str, str] = field(default_factory=package_versions)
    probes: int = 1  # draws a clip and task
    unrolled: bool = False  # whether the camera was differentiated through every iteration of its head
    by_kind: Float[Tensor, "tasks kinds blocks channels"] | None = None  # camera, register, patch tokens; sum: values
    standard_error: Float[Tensor, "tasks blocks channels"] | None = None  # of values over draws, given the scenes

    def __post_init__(self):
        expected = (len(self.tasks), len(self.block_names))
        if self.values.ndim != 3 or tuple(self.values.shape[:2]) != expected:
            raise FgqError(
                f"Fisher values have shape {list(self.values.shape)}, expected [{expected[0]}, {expected[1]}, channels]"
            )
        bad = (~torch.isfinite(self.values) | (self.values < 0)).nonzero()
        if len(bad):
            task, block, channel = bad[0].tolist()
            raise FgqError(
                f"Fisher value of task {self.tasks[task]}, block {self.block_names[block]}, channel {channel} is "
                f"{self.values[task, block, channel].item()}; every value must be finite and at least 0"
            )

    @property
    def num_channels(self) -> int:
        return self.values.shape[-1]

    def sensitivity(self, task_weights: dict[str, float] | None = None) -> Float[Tensor, "blocks channels"]:
        """The tasks merged, before any normalisation by block; its mean over all is the sum of the task weights.

        `task_weights` maps task to weight (equal ones by default). Raises FgqError for a weighted task that no block
        influences.
        """
        weights = weights_of_tasks(self.tasks, task_weights)
        for task, weight, values in zip(self.tasks, weights, self.values, strict=True):
            if weight > 0 and not values.any():
                raise FgqError(f"the Fisher of task {task} is zero everywhere: give it task weight 0 or estimate again")
        return merge_tasks(self.values.double(), weights).float()

    def calibration_weights(
        self, task_weights: dict[str, float] | None = None, floor: float = WEIGHT_FLOOR
    ) -> Float[Tensor, "blocks channels"]:
        """Channel weights of the calibration loss: mean 1 in every block, then floored.

        Raises FgqError where a block has no influence on any weighted task.
        """
        sensitivity = self.sensitivity(task_weights)
        silent = [name for name, row in zip(self.block_names, sensitivity, strict=True) if not row.any()]
        if silent:
            raise FgqError(f"the Fisher of block {silent[0]} is zero in every channel: no weights can be made of it")
        return block_weights(sensitivity, floor)

    def check_matches(self, model: VGGT) -> None:
        """Raises FgqError when the table was not estimated on this model (sizes, and weights where known)."""
        blocks, channels = model.config.num_blocks, model.config.embed_dim
        if list(self.block_names) != model.config.block_names or self.num_channels != channels:
            raise FgqError(
                f"the Fisher table has {len(self.block_names)} blocks of {self.num_channels} channels, the model "
                f"{blocks} of {channels}: estimate it on this model"
            )
        if self.model_hash and self.model_hash != fingerprint(model):
            raise FgqError(
                f"the Fisher table was estimated on other weights (model {self.model_hash[:12]}): estimate it on this "
                "model"
            )

    def origin(self) -> dict[str, Any]:
        """Where the values came from, and their checksum, as plain values that JSON can hold."""
        about = {name: value for name, value in asdict(self).items() if name not in (*TENSORS, "block_names")}
        return json.loads(json.dumps(about)) | {"checksum": checksum(self.values)}

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file, its tensors and the rest as JSON in its header. Raises FgqError."""
        tensors = {name: getattr(self, name) for name in TENSORS if getattr(self, name) is not None}
        about = {name: value for name, value in asdict(self).items() if name not in TENSORS}
        save_tensors(check_file(path), tensors, {"format": FORMAT, "fisher": json.dumps(about)}, "the Fisher table")

    @classmethod
    def load(cls, path: str | Path) -> "FisherTable":
        """Reads what `save` wrote; raises FgqError for a missing file or one that holds something else."""
        if not Path(path).is_file():
            raise FgqError(f"{path}: no such Fisher table; make one with fgq.estimate_fisher and save it")
        tensors, metadata = read_tensors(path, TENSORS)
        if metadata.get("format") != FORMAT:
            raise FgqError(f"{path}: not a Fisher table (format {metadata.get('format')!r}, not {FORMAT!r})")
        try:
            about = json.loads(metadata["fisher"])
            check_content(about, tensors)
            about |= {name: tuple(about[name]) for name in LISTS}
            return cls(**tensors, **about)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise FgqError(f"{path}: not a whole Fisher table ({reason(error)}): copy or make it again") from error


def check_content(about: object, tensors: dict[str, Tensor]) -> None:
    """Raises TypeError, or KeyError, for what a file may hold in place of a table's fields."""
    if not isinstance(about, dict):
        raise TypeError(f"its description is a {type(about).__name__}")
    for name, kind in KINDS.items():
        if name in about and type(about[name]) is not kind:
            raise TypeError(f"its {name} is no {kind.__name__}")
    for name in LISTS:
        if not all(isinstance(entry, str) for entry in about[name]):
            raise TypeError(f"its {name} are no names")
    tasks, blocks, channels = len(about["tasks"]), len(about["block_names"]), tensors["values"].shape[-1:]
    shapes = dict.fromkeys(TENSORS, (tasks, blocks, *channels))
    shapes["by_kind"] = (tasks, *tensors.get("by_kind", tensors["values"]).shape[1:2], blocks, *channels)
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.shape != shapes[name]:
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise TypeError(f"its {name} are {found}, not {torch.float32} {list(shapes[name])}")
