"""Finished blocks on disk, so that a calibration that was stopped goes on where it was."""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fgq.affine.quantized_block import QuantizedBlock
from fgq.calibrate.log import BlockLog
from fgq.calibrate.recipe import Recipe
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.vggt import VGGT
from fgq.vggt.weights import fingerprint

FORMAT = "fgq-calibration-1"
PLAN_FILE = "plan.json"


def describe_calibration(
    model: VGGT, scenes: Sequence[Scene], recipe: Recipe, weights: Tensor, seed: int
) -> dict[str, Any]:
    """All that decides a calibration's result, as plain values: the large ones by their hash."""
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
        # As a file gives it back: without the difference between tuples and lists.
        "recipe": json.loads(json.dumps(recipe.to_dict())),
    }


class FinishedBlocks:
    """One file a finished block, written whole or not at all, and the plan that they all belong to.

    Without a folder nothing is kept. Raises FgqError, and touches nothing, when the folder holds the blocks of another
    calibration: the message says what differs.
    """

    def __init__(self, folder: str | Path | None, plan: dict[str, Any]):
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        path = self.folder / PLAN_FILE
        if path.exists():
            check_same(read_plan(path), plan, self.folder)
            return
        if self.folder.exists() and any(self.folder.glob("*.safetensors")):
            raise FgqError(f"{self.folder}: holds weights but no {PLAN_FILE}: choose an empty folder as resume_dir")
        write_whole(path, json.dumps(plan, indent=2, sort_keys=True).encode(), "the plan")

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        return self.folder is not None and self.file(name).exists()

    def load(self, name: str, empty: QuantizedBlock) -> tuple[QuantizedBlock, BlockLog]:
        """The block, put into `empty`, and its log. Raises FgqError for a file that is not as it was written."""
        path = self.file(name)
        try:
            with safe_open(path, "pt") as file:
                about, state = file.metadata(), {key: file.get_tensor(key).clone() for key in file.keys()}
            empty.load_state_dict(state, strict=True, assign=True)
            log, intact = BlockLog(**json.loads(about["log"])), about["checksum"] == checksum(empty, about["log"])
        except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise FgqError(
                f"{path}: cannot be read ({' '.join(str(error).split())[:200]}): remove it, and block {name} is "
                "calibrated again"
            ) from error
        if log.name != name:
            raise FgqError(f"{path}: holds block {log.name}: remove it, and block {name} is calibrated again")
        if not intact:
            raise FgqError(f"{path}: its checksum is wrong: remove it, and block {name} is calibrated again")
        return empty, log

    def keep(self, block: QuantizedBlock, log: BlockLog) -> None:
        """Raises FgqError when there is no room for it."""
        if self.folder is None:
            return
        record = json.dumps(asdict(log))
        state = {key: value.detach().cpu().contiguous() for key, value in block.state_dict().items()}
        path = self.file(log.name)
        part = part_of(path)
        try:
            save_file(state, part, metadata={"log": record, "checksum": checksum(block, record)})
            settle(part, path)
        except (OSError, SafetensorError) as error:
            refuse(path, f"block {log.name}", error)


def checksum(block: QuantizedBlock, log: str) -> str:
    return hashlib.sha256((fingerprint(block) + log).encode()).hexdigest()


def read_plan(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(plan.get("recipe"), dict):
            raise ValueError("it states no recipe")
        return plan
    except (OSError, ValueError, AttributeError) as error:
        raise FgqError(
            f"{path}: cannot be read ({error}): it says which calibration the blocks beside it belong to; choose "
            "another resume_dir"
        ) from error


def check_same(kept: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """Raises FgqError that names all that differs."""
    differing = [name for name in wanted if name != "recipe" and kept.get(name) != wanted[name]]
    for field in wanted["recipe"].keys() | kept["recipe"].keys():
        old, new = kept["recipe"].get(field), wanted["recipe"].get(field)
        if old != new:
            differing.append(f"recipe's {field} ({old!r} there, {new!r} now)")
    if differing:
        raise FgqError(
            f"{folder}: holds the blocks of another calibration; it differs in {', '.join(sorted(differing))}: "
            "repeat that one, choose another resume_dir, or remove the folder"
        )


def write_whole(path: Path, content: bytes, what: str) -> None:
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        settle(part, path)
    except OSError as error:
        refuse(path, what, error)


def part_of(path: Path) -> Path:
    """Its own for every process, so that two that were started by mistake do not write into one file."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def settle(part: Path, path: Path) -> None:
    """Gives a written file its name once its bytes are on the disk: it is there whole, or not at all."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def refuse(path: Path, what: str, error: Exception) -> None:
    with contextlib.suppress(OSError):
        part_of(path).unlink()
    raise FgqError(
        f"{path}: cannot keep {what} ({error}): free some space or choose another resume_dir; blocks that were "
        "finished before are kept"
    ) from error
