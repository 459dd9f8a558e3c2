"""What a calibration did, kept with the model."""

from dataclasses import asdict, dataclass
from typing import Any

from fgq.calibrate.recipe import Recipe


@dataclass(frozen=True)
class BlockLog:
    """One block. Losses are means over all calibration clips, tokens and channels; None without scenes.

    `rtn_*` is plain round-to-nearest at the same bits, `initial_*` the block before its first step, `final_*` the block
    that was kept. `*_loss` is the unweighted mean squared error, `*_weighted_loss` the calibration's objective.
    """

    name: str
    rtn_loss: float | None
    initial_loss: float | None
    final_loss: float | None
    rtn_weighted_loss: float | None
    initial_weighted_loss: float | None
    final_weighted_loss: float | None
    steps: int
    kept_epoch: int | None  # from 1; 0 is the start, None when nothing was learnt
    seconds: float
    warning: str | None = None
    condition: float | None = None  # of the worst P₁ ⊗ P₂ that was kept; None without transforms and in older logs
    diagonal_ratio: float | None = None  # largest over smallest entry of the worst diagonal


@dataclass(frozen=True)
class Quantization:
    """How a model was quantized: the recipe, the seed, one log a block. Kept as `model.quantization`."""

    recipe: Recipe
    seed: int
    blocks: tuple[BlockLog, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; `from_dict` gives an equal value back."""
        blocks = [asdict(block) for block in self.blocks]
        return {"recipe": self.recipe.to_dict(), "seed": self.seed, "blocks": blocks}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Quantization":
        blocks = tuple(BlockLog(**block) for block in values["blocks"])
        return cls(Recipe.from_dict(values["recipe"]), values["seed"], blocks)
