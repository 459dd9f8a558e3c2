"""Datasets on disk: from a root folder to chosen frames, to scenes and to a list of what failed."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fgq.data.about import CALIBRATION, About
from fgq.data.loaded import LoadedScenes, UnreadableSequences
from fgq.data.resize import Label, check_size, to_scene
from fgq.data.sampling import FrameList, FrameListError, Rule, choose_sequences
from fgq.data.scene import SceneError
from fgq.data.sequence import Sequence, SequenceError, SequenceFailure, shown
from fgq.errors import FgqError

SEED = 42  # of the published protocols
NAMED = 5  # failures that one line names; all are in the result


@dataclass(frozen=True)
class Selection:
    """Sequences with their chosen frames, not read yet."""

    dataset: "DiskDataset"
    chosen: list[tuple[Sequence, tuple[str, ...]]]
    failures: list[SequenceFailure]  # of sequences whose frames could not even be listed
    frame_list: FrameList

    def read(self, size: int | tuple[int, int] = 518, patch_size: int = 14) -> LoadedScenes:
        """Reads all. Warns of sequences that failed (UnreadableSequences); raises FgqError when none is left."""
        check_size(size, patch_size)
        scenes, failures = [], list(self.failures)
        for sequence, frames in self.chosen:
            try:
                stored = [sequence.read(frame) for frame in frames]
                label = self.dataset.label(sequence.name, frames, self.frame_list.split)
                scenes.append(to_scene(stored, label, size, patch_size))
            except (SequenceError, SceneError) as error:
                failures.append(SequenceFailure(sequence.name, str(error)))
        failures = by_sequence(failures)
        tell(self.dataset.name, failures, len(scenes))
        return LoadedScenes(scenes, self.frame_list, failures)


def by_sequence(failures: list[SequenceFailure]) -> list[SequenceFailure]:
    """One failure a sequence, with all its reasons."""
    reasons: dict[str, list[str]] = {}
    for failure in failures:
        reasons.setdefault(failure.sequence, []).append(failure.reason)
    return [SequenceFailure(sequence, "; ".join(told)) for sequence, told in reasons.items()]


def tell(dataset: str, failures: list[SequenceFailure], read: int) -> None:
    """Warns of the failures in one line, by path and with their number; raises FgqError when nothing was read."""
    if not failures:
        return
    named = [f"{failure.sequence}: {failure.reason}" for failure in failures[:NAMED]]
    more = [f"{len(failures) - NAMED} more"] if len(failures) > NAMED else []
    number = f"{dataset}: {len(failures)} of {len(failures) + read} sequences cannot be read"
    told = f"{number}, {'; '.join(named + more)}"
    if not read:
        raise FgqError(told)
    warnings.warn(told, UnreadableSequences, stacklevel=5)


@dataclass(frozen=True)
class DiskDataset(About):
    """A dataset as people download it.

    `find(root, split, **options)` gives the sequences, or failures where not even their names can be told. Those of
    the split "calibration" are never those of the split "test": where a download's lists name one in both, it is left
    out of the calibration, so that the test stays the published one. `recording` tells of which recording a named
    sequence is, where there are several of one.
    """

    find: Callable[..., list[Sequence | SequenceFailure]]
    recording: Callable[[str], str] = str

    def select(
        self,
        root: str | Path | None,
        split: str,
        rule: Rule | None = None,
        count: int | None = None,
        seed: int | None = None,
        frame_list: str | Path | FrameList | None = None,
        **options,
    ) -> Selection:
        """Chooses `count` sequences (all for None) and frames of them by `rule` (the published one for None).

        A `frame_list` chooses instead of split, rule, count and seed. Raises FgqError for a missing root, an unknown
        split, a frame list of another dataset, and when nothing at all is found.
        """
        root = self.checked_root(root)
        wanted = None
        if frame_list is not None:
            if any(value is not None for value in (rule, count, seed)):
                raise FgqError(f"{self.name}: a frame list already says which frames: leave count, frames, seed away")
            wanted = frame_list if isinstance(frame_list, FrameList) else FrameList.load(frame_list)
            if wanted.dataset != self.name:
                raise FrameListError(f"{named_list(frame_list)}: is of {wanted.dataset}, not of {self.name}")
            split = wanted.split
        if split not in self.rules:
            raise FgqError(f"{self.name} has no split {split!r}; choose one of {', '.join(self.rules)}")
        found = self.find(root, split, **options)
        sequences = {item.name: item for item in found if isinstance(item, Sequence) and is_text(item.name)}
        failures = [item for item in found if isinstance(item, SequenceFailure)]
        failures += [
            SequenceFailure(shown(item.name), f"{shown(root)}: the name {shown(item.name)} is no UTF-8; rename it")
            for item in found
            if isinstance(item, Sequence) and not is_text(item.name)
        ]
        if not sequences and not failures:
            outside = " that is not of the test" if split == CALIBRATION else ""
            raise FgqError(
                f"{shown(root)}: holds no sequence of {self.name}, split {split}{outside}; it needs {self.needs}"
            )
        if wanted is not None:
            return self.listed(sequences, failures, wanted, named_list(frame_list))
        rule, seed = rule or self.rules[split], SEED if seed is None else seed
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise FgqError(f"{self.name}: seed must be a whole number, got {seed!r}")
        names = [(sequence.group, name) for name, sequence in sequences.items()]
        kept = choose_sequences(names, count, seed, self.name) if names else set()
        chosen = []
        for name in sorted(kept):
            try:
                chosen.append((sequences[name], rule.choose(sequences[name].frames(), seed, self.name, name)))
            except FgqError as error:
                failures.append(SequenceFailure(name, str(error)))
        frames = {sequence.name: ids for sequence, ids in chosen}
        return Selection(self, chosen, failures, FrameList(self.name, split, str(rule), seed, frames))

    def listed(
        self, sequences: dict[str, Sequence], failures: list[SequenceFailure], wanted: FrameList, source: str
    ) -> Selection:
        """The frames of a frame list. What find() could not read matters only where the list asks for it."""
        known = {failure.sequence: failure for failure in failures}
        chosen, failed = [], []
        for name, ids in wanted.sequences.items():
            try:
                if name not in sequences:
                    why = known.get(name) or known.get(name.split("/")[0])  # the whole group may have failed
                    outside = ", or is of the test" if wanted.split == CALIBRATION else ""
                    raise SequenceError(why.reason if why else f"{source}: {name} is not on disk{outside}")
                there = set(sequences[name].frames())
                missing = [frame for frame in ids if frame not in there]
                if missing:
                    raise SequenceError(f"{source}: {name} has no frame {', '.join(missing[:5])}")
                chosen.append((sequences[name], ids))
            except FgqError as error:
                failed.append(SequenceFailure(name, str(error)))
        return Selection(self, chosen, failed, wanted)

    def label(self, name: str, frames: tuple[str, ...], split: str) -> Label:
        return Label(name, self.name, self.unit, frames, split, self.recording(name))

    def checked_root(self, root: str | Path | None) -> Path:
        if root is None:
            raise FgqError(f"the dataset {self.name!r} needs root=, the folder with {self.needs}")
        root = Path(root).expanduser()
        if not os.path.isdir(root):
            raise FgqError(f"{shown(root)}: no such folder; {self.name} needs {self.needs}")
        return root


def named_list(frame_list: str | Path | FrameList) -> str:
    return "the frame list" if isinstance(frame_list, FrameList) else f"the frame list {shown(frame_list)}"


def is_text(name: str) -> bool:
    """Whether a name can be stored and printed: names on disk are bytes, and not all bytes are UTF-8."""
    return name == shown(name)
