"""What a calibration did, kept with the model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fgq.calibrate.recipe import Recipe
from fgq.data.disjoint import Seen


@dataclass(frozen=True)
class BlockLog:
    """One block. Losses are means over all calibration scenes, tokens and channels; None without scenes.

    `rtn_*` is plain round-to-nearest at the same bits, `initial_*` the block before its first step, `final_*` the block
    that was kept. `*_loss` is the unweighted mean squared error, `*_weighted_loss` the calibration's objective.
    """

    name: str
    rtn_loss: float | None = None
    initial_loss: float | None = None
    final_loss: float | None = None
    rtn_weighted_loss: float | None = None
    initial_weighted_loss: float | None = None
    final_weighted_loss: float | None = None
    steps: int = 0
    kept_epoch: int | None = None  # from 1; 0 is the start, None when nothing was learnt
    seconds: float = 0.0
    warning: str | None = None
    condition: float | None = None  # of the worst P₁ ⊗ P₂ that was kept; None without transforms and in older logs
    diagonal_ratio: float | None = None  # largest over smallest entry of the worst diagonal
    epoch_losses: Sequence[float] = ()  # the objective's mean over the steps of each epoch, as it was learnt
    learning_rate: float | None = None  # of the attempt that was kept; None when nothing was learnt

    def __post_init__(self):
        object.__setattr__(self, "epoch_losses", tuple(self.epoch_losses))  # JSON has lists only


@dataclass(frozen=True)
class PartLog:
    """The encoder or the camera head, where the recipe rounds it. Errors are of the part alone; None without scenes."""

    name: str  # of the recipe's field
    layers: int  # linear layers that were rounded
    output_error: float | None  # mean squared error of the part's output over all calibration scenes
    relative_error: float | None  # its root over the root mean square of the full-precision output


@dataclass(frozen=True)
class Quantization:
    """How a model was quantized: the recipe, the seed, one log a block, and one a part that was rounded beside them.

    Kept as `model.quantization`. `seen` are the scenes that were given to calibrate on, of which the recipe may have
    chosen some. `fisher` is the origin of the table that was given (`FisherTable.origin`), where the recipe uses one.
    """

    recipe: Recipe
    seed: int
    blocks: tuple[BlockLog, ...]
    parts: tuple[PartLog, ...] = ()
    seen: Seen = field(default_factory=Seen)
    fisher: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; `from_dict` gives an equal value back."""
        blocks = [asdict(block) for block in self.blocks]
        parts = [asdict(part) for part in self.parts]
        about = {"recipe": self.recipe.to_dict(), "seed": self.seed, "blocks": blocks, "parts": parts}
        return about | {"seen": asdict(self.seen), "fisher": self.fisher}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Quantization":
        blocks = tuple(BlockLog(**block) for block in values["blocks"])
        parts = tuple(PartLog(**part) for part in values.get("parts", ()))  # which older models do not state
        seen = Seen.from_dict(values["seen"]) if "seen" in values else Seen()  # nor these
        fisher = values.get("fisher")
        if not isinstance(fisher, dict | None):
            raise TypeError(f"its fisher is a {type(fisher).__name__}")
        return cls(Recipe.from_dict(values["recipe"]), values["seed"], blocks, parts, seen, fisher)
