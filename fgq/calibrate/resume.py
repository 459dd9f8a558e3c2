"""Finished blocks on disk, so that a calibration that was stopped goes on where it was."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgq.affine.quantized_block import QuantizedBlock
from fgq.calibrate.log import BlockLog
from fgq.calibrate.recipe import Recipe
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.tensor_files import read_tensors, save_tensors
from fgq.vggt import VGGT
from fgq.vggt.weights import fingerprint
from fgq.writing import locked, reason, write_json

FORMAT = "fgq-calibration-2"
PLAN_FILE = "plan.json"
HASHED = ("model", "scenes", "fisher")  # in a plan


def describe_calibration(
    model: VGGT, scenes: Sequence[Scene], recipe: Recipe, weights: Tensor, seed: int, device: torch.device
) -> dict[str, Any]:
    """All that decides a calibration's result to the bit, as plain values: the large ones by their hash.

    Sums come in another order with another number of threads, on another device and with another version of torch; so
    those are stated too, and blocks of both are not mixed.
    """
    images = hashlib.sha256()
    for scene in scenes:
        images.update(f"{scene.images.dtype} {list(scene.images.shape)}".encode())
        images.update(scene.images.contiguous().cpu().numpy())
    return {
        "format": FORMAT,
        "model": fingerprint(model.aggregator),
        "scenes": images.hexdigest(),
        "fisher": hashlib.sha256(weights.cpu().contiguous().numpy()).hexdigest(),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        **{name: version(name) for name in ("torch", "fgq")},
        # As a file gives it back: without the difference between tuples and lists.
        "recipe": json.loads(json.dumps(recipe.to_dict())),
    }


def device_name(device: torch.device) -> str:
    if device.type == "cpu":
        return f"cpu with {torch.backends.cpu.get_cpu_capability()}"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def finished_blocks(folder: str | Path | None, plan: dict[str, Any]) -> Iterator["FinishedBlocks"]:
    """Of one calibration at a time; without a folder nothing is kept. Raises FgqError as `locked` and the class do."""
    with nullcontext() if folder is None else locked(folder, "another calibration"):
        yield FinishedBlocks(folder, plan)


class FinishedBlocks:
    """One file a finished block, written whole or not at all, and the plan that they all belong to.

    Raises FgqError, and touches no block, when the folder holds those of another calibration, or of this one in other
    circumstances, in which they would not end in the same bits: the message says what differs.
    """

    def __init__(self, folder: str | Path | None, plan: dict[str, Any]):
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        path = self.folder / PLAN_FILE
        if path.exists():
            check_same(read_plan(path), plan, self.folder)
            return
        if any(self.folder.glob("*.safetensors")):
            raise FgqError(f"{self.folder}: holds weights but no {PLAN_FILE}: choose an empty folder as resume_dir")
        write_json(path, plan, "the plan")

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        return self.folder is not None and self.file(name).exists()

    def load(self, name: str, empty: QuantizedBlock) -> tuple[QuantizedBlock, BlockLog]:
        """The block, put into `empty`, and its log. Raises FgqError for a file that is not as it was written."""
        path = self.file(name)
        try:
            state, about = read_tensors(path)
            log = BlockLog(**json.loads(about["log"]))
            if log.name != name:
                raise FgqError(f"{path}: holds block {log.name}")
            empty.load_state_dict(state, strict=True, assign=True)
        except FgqError as error:
            raise FgqError(f"{error}; remove it, and block {name} is calibrated again") from error
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise FgqError(
                f"{path}: cannot be read ({reason(error)}): remove it, and block {name} is calibrated again"
            ) from error
        return empty, log

    def keep(self, block: QuantizedBlock, log: BlockLog) -> None:
        """Raises FgqError when there is no room for it; blocks that were finished before are kept."""
        if self.folder is not None:
            about = {"log": json.dumps(asdict(log))}
            save_tensors(self.file(log.name), block.state_dict(), about, f"block {log.name}")


def read_plan(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(plan.get("recipe"), dict):
            raise ValueError("it states no recipe")
        return plan
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise FgqError(
            f"{path}: cannot be read ({reason(error)}): it says which calibration the blocks beside it belong to; "
            "choose another resume_dir"
        ) from error


def check_same(kept: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """Raises FgqError that names all that differs."""
    differing = [name for name in HASHED if kept.get(name) != wanted[name]]
    for name in wanted.keys() - {*HASHED, "recipe"}:
        if kept.get(name) != wanted[name]:
            differing.append(f"{name} ({kept.get(name)!r} there, {wanted[name]!r} now)")
    for field in wanted["recipe"].keys() | kept["recipe"].keys():
        old, new = kept["recipe"].get(field), wanted["recipe"].get(field)
        if old != new:
            differing.append(f"recipe's {field} ({old!r} there, {new!r} now)")
    if differing:
        raise FgqError(
            f"{folder}: holds the blocks of another calibration; it differs in {', '.join(sorted(differing))}: "
            "repeat that one, choose another resume_dir, or remove the folder"
        )
