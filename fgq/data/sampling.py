"""What a dataset is, which of its sequences and frames are taken, and frame lists that freeze what was chosen.

A random choice ranks names by SHA-256 of (seed, dataset, sequence, frame). It is the same on every platform and with
every version of every library, does not depend on what else is in the folder, and a larger number of frames contains
the smaller one.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from fgq.errors import FgqError
from fgq.writing import write_text

FORMAT = "fgq frame list 1"
HEAD = {"format": str, "dataset": str, "split": str, "rule": str, "seed": int, "hash": str}  # of a frame list's file
RULES = {
    "random": "{0} random frames, in the order of the sequence",
    "even": "{0} frames at even steps",
    "every": "every {0}th frame from the first on",
    "first": "the first {0} frames, or all where there are fewer",
    "all": "all frames",
}


class FrameListError(FgqError):
    """A frame list that is missing, damaged or of another dataset; the message names its file."""


def check_whole(value: object, what: str, least: int | None = None) -> None:
    """Raises FgqError unless `value`, called `what`, is a whole number, at `least` so large."""
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least}"
        raise FgqError(f"{what} must be a whole number{bound}, got {value!r}")


@dataclass(frozen=True)
class Rule:
    """How frames of a sequence are chosen: `kind` is a key of RULES, `amount` a number of frames or a step."""

    kind: str
    amount: int = 1

    def __post_init__(self):
        if self.kind not in RULES:
            raise FgqError(f"frames cannot be chosen by {self.kind!r}; choose one of {', '.join(RULES)}")
        check_whole(self.amount, "the number of frames or the step", 1)

    def __str__(self) -> str:
        return RULES[self.kind].format(self.amount)

    def choose(self, frames: list[str], seed: int, dataset: str, sequence: str) -> tuple[str, ...]:
        """The chosen ones of `frames`, in their order. Raises FgqError when there are none or too few."""
        if not frames:
            raise FgqError(f"{sequence}: holds no frame")
        if self.kind in ("random", "even") and len(frames) < self.amount:
            raise FgqError(f"{sequence}: holds {len(frames)} frames, {self.amount} were asked for")
        if self.kind == "even":
            return tuple(frames[i * len(frames) // self.amount] for i in range(self.amount))
        if self.kind == "random":
            ranked = sorted(frames, key=lambda frame: rank(seed, dataset, sequence, frame))
            kept = set(ranked[: self.amount])
            return tuple(frame for frame in frames if frame in kept)
        if self.kind == "every":
            return tuple(frames[:: self.amount])
        return tuple(frames[: self.amount]) if self.kind == "first" else tuple(frames)


CALIBRATION, TEST = "calibration", "test"  # every dataset has both, and no sequence is in both
CALIBRATION_RULE = Rule("random", 4)  # of equally many frames, as a calibration needs them


@dataclass(frozen=True)
class About:
    """What a dataset is called, where it comes from, how it is split and what its published protocol takes.

    `rules` has every split and its published choice of frames; the first split is the usual one. CALIBRATION and TEST
    are among them and share no sequence, whatever a download's own lists say. `published` is the number of sequences
    by split in the published evaluations, where there is one. `choices` are the options that choose other frames than
    the published ones, and by which kind of `Rule`: "frames" is one of them wherever frames are not made to order.
    """

    name: str
    unit: str  # of lengths, one of `fgq.data.scene.UNITS`
    needs: str  # archives and folders, one line
    licence: str
    rules: dict[str, Rule]
    published: dict[str, int]
    calibration: str  # which sequences are of that split, one line
    choices: dict[str, str]

    def check_split(self, split: str) -> None:
        if split not in self.rules:
            raise FgqError(f"{self.name} has no split {split!r}; choose one of {', '.join(self.rules)}")


def rank(seed: int, *names: str) -> str:
    return hashlib.sha256(json.dumps([seed, *names]).encode()).hexdigest()


def choose_sequences(names: Iterable[tuple[str, str]], count: int | None, seed: int, dataset: str) -> set[str]:
    """`count` of the sequences (group, name), all for None; every group is asked in turn until it has no more.

    Groups are such as CO3D's categories. Raises FgqError when there are fewer than `count`.
    """
    groups = defaultdict(list)
    for group, name in names:
        groups[group].append(name)
    total = sum(map(len, groups.values()))
    count = total if count is None else count
    if count > total:
        raise FgqError(f"{dataset}: {count} sequences were asked for, but {total} were found")
    turns = []
    for group, members in groups.items():
        ordered = sorted(members, key=lambda name: rank(seed, dataset, name))
        turns += [(turn, rank(seed, dataset, group, str(turn)), name) for turn, name in enumerate(ordered)]
    return {name for _, _, name in sorted(turns)[:count]}


@dataclass(frozen=True)
class FrameList:
    """The frames of every sequence that an evaluation used, and how they were chosen."""

    dataset: str
    split: str
    rule: str
    seed: int
    sequences: dict[str, tuple[str, ...]]

    @property
    def hash(self) -> str:
        """SHA-256 of dataset, sequences and frames: equal exactly when the same frames were used."""
        content = [self.dataset, sorted((name, list(frames)) for name, frames in self.sequences.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def num_frames(self) -> int:
        return sum(map(len, self.sequences.values()))

    def only(self, names: Iterable[str]) -> "FrameList":
        """Of these sequences alone."""
        return replace(self, sequences={name: self.sequences[name] for name in names})

    def parts(self, size: int) -> list["FrameList"]:
        """In parts of `size` sequences, to load one after another what does not fit into memory at once."""
        names = list(self.sequences)
        return [self.only(names[start : start + size]) for start in range(0, len(names), size)]

    def save(self, path: str | Path) -> None:
        """Writes JSON that git shows line by line, a sequence a line."""
        head = {"format": FORMAT} | {key: getattr(self, key) for key in HEAD if key != "format"}
        lines = [f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
        rows = [f"    {json.dumps(name)}: {json.dumps(frames)}" for name, frames in self.sequences.items()]
        text = "{\n" + "".join(lines) + '  "sequences": {\n' + ",\n".join(rows) + "\n  }\n}\n"
        write_text(path, text, "the frame list")

    @classmethod
    def load(cls, path: str | Path) -> "FrameList":
        """Raises FrameListError for a file that is missing, is no frame list, or was changed after it was written."""
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
        except OSError as error:
            raise FrameListError(f"{path}: this frame list cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError) as error:
            raise FrameListError(f"{path}: this is no frame list ({error})") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise FrameListError(f'{path}: this is no frame list, it does not say "format": "{FORMAT}"')
        for key, kind in (HEAD | {"sequences": dict}).items():
            if not isinstance(content.get(key), kind):
                raise FrameListError(f"{path}: {key!r} of this frame list is missing or no {kind.__name__}")
        for name, frames in content["sequences"].items():
            if not isinstance(frames, list) or not frames or not all(isinstance(frame, str) for frame in frames):
                raise FrameListError(f"{path}: sequence {name!r} needs a list of frames, as text")
            if len(set(frames)) != len(frames):
                raise FrameListError(f"{path}: sequence {name!r} names a frame twice")
        sequences = {name: tuple(frames) for name, frames in content["sequences"].items()}
        found = cls(content["dataset"], content["split"], content["rule"], content["seed"], sequences)
        if found.hash != content["hash"]:
            told = "its frames are not those that were frozen (the hash differs); restore the file"
            raise FrameListError(f"{path}: {told}")
        return found


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return dict(pairs)
