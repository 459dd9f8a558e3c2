"""Datasets on disk: from a root folder to chosen frames, to scenes and to a list of what failed."""

import inspect
import os
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fgq.data.loaded import LoadedScenes, UnreadableSequences
from fgq.data.public.resize import check_size, to_scene
from fgq.data.sampling import CALIBRATION, About, FrameList, FrameListError, Rule, check_whole, choose_sequences
from fgq.data.scene import SceneError
from fgq.data.sequence import Sequence, SequenceError, SequenceFailure, fault, shown
from fgq.errors import FgqError

SEED = 42  # of the published protocols
NAMED = 5  # failures that one line names; all are in the result
RANDOM, RANDOM_OR_STEP = {"frames": "random"}, {"frames": "random", "every": "every"}


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
        about = {"dataset": self.dataset.name, "unit": self.dataset.unit, "split": self.frame_list.split}
        scenes, reasons = [], defaultdict(list)
        for failure in self.failures:
            reasons[failure.sequence].append(failure.reason)
        for sequence, ids in self.chosen:
            recording = self.dataset.recording(sequence.name)
            try:
                frames = [sequence.read(frame) for frame in ids]
                scenes.append(to_scene(sequence.name, frames, ids, size, patch_size, sequence=recording, **about))
            except (SequenceError, SceneError) as error:
                reasons[sequence.name].append(str(error))
        failures = [SequenceFailure(name, "; ".join(told)) for name, told in reasons.items()]
        if failures:
            named = "; ".join(f"{failure.sequence}: {failure.reason}" for failure in failures[:NAMED])
            more = f"; {len(failures) - NAMED} more" if len(failures) > NAMED else ""
            asked = len(failures) + len(scenes)
            told = f"{self.dataset.name}: {len(failures)} of {asked} sequences cannot be read, {named}{more}"
            if not scenes:
                raise FgqError(told)
            warnings.warn(told, UnreadableSequences, stacklevel=4)
        return LoadedScenes(scenes, self.frame_list, failures)


@dataclass(frozen=True)
class DiskDataset(About):
    """A dataset as people download it.

    `find(root, split, *, …)` gives the sequences, or failures where not even their names can be told. Those of the
    split "calibration" are never those of the split "test": where a download's lists name one in both, it is left out
    of the calibration, so that the test stays the published one. `recording` tells of which recording a named sequence
    is, where there are several of one.
    """

    find: Callable[..., list[Sequence | SequenceFailure]]
    recording: Callable[[str], str] = str

    @cached_property
    def load(self) -> Callable[..., LoadedScenes]:
        """Reads scenes from a folder `root`; what is not given is as published, in the first of the splits.

        Its signature shows the options that all have, those of `choices` and those of `find`. Raises FgqError as
        `select`; what cannot be read is in `.failures`.
        """

        def load(
            root: str | Path | None = None,
            split: str | None = None,
            count: int | None = None,
            seed: int | None = None,
            size: int | tuple[int, int] = 518,
            patch_size: int = 14,
            frame_list: str | Path | FrameList | None = None,
            **options,
        ) -> LoadedScenes:
            given = {kind: options.pop(name, None) for name, kind in self.choices.items()}
            rules = [Rule(kind, amount) for kind, amount in given.items() if amount is not None]
            if len(rules) > 1:
                raise FgqError(f"{' and '.join(self.choices)} both say which frames: leave one of them away")
            rule = rules[0] if rules else None
            return self.select(root, split, rule, count, seed, frame_list, **options).read(size, patch_size)

        shared = list(inspect.signature(load).parameters.values())[:-1]
        named = inspect.Parameter.KEYWORD_ONLY
        choosing = [inspect.Parameter(name, named, default=None, annotation=int | None) for name in self.choices]
        own = list(inspect.signature(self.find).parameters.values())[2:]
        load.__signature__ = inspect.Signature([*shared, *choosing, *own], return_annotation=LoadedScenes)
        return load

    def select(
        self,
        root: str | Path | None,
        split: str | None = None,
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
        if root is None:
            raise FgqError(f"the dataset {self.name!r} needs root=, the folder with {self.needs}")
        root = Path(root).expanduser()
        if not os.path.isdir(root):
            raise FgqError(f"{shown(root)}: no such folder; {self.name} needs {self.needs}")
        split = next(iter(self.rules)) if split is None else split
        if frame_list is not None:
            if any(value is not None for value in (rule, count, seed)):
                raise FgqError(f"{self.name}: a frame list already says which frames: leave count, frames, seed away")
            source = "the frame list"
            if not isinstance(frame_list, FrameList):
                source, frame_list = f"the frame list {shown(frame_list)}", FrameList.load(frame_list)
            if frame_list.dataset != self.name:
                raise FrameListError(f"{source}: is of {frame_list.dataset}, not of {self.name}")
            split = frame_list.split
        self.check_split(split)
        sequences, failures = self.found(root, split, options)
        if frame_list is not None:
            return self.listed(sequences, failures, frame_list, source)
        seed = SEED if seed is None else seed
        check_whole(seed, f"{self.name}: seed")
        rule, chosen = rule or self.rules[split], []
        names = [(sequence.group, name) for name, sequence in sequences.items()]
        for name in sorted(choose_sequences(names, count, seed, self.name)) if names else ():
            try:
                chosen.append((sequences[name], rule.choose(sequences[name].frames(), seed, self.name, name)))
            except FgqError as error:
                failures.append(SequenceFailure(name, str(error)))
        frames = {sequence.name: ids for sequence, ids in chosen}
        return Selection(self, chosen, failures, FrameList(self.name, split, str(rule), seed, frames))

    def found(self, root: Path, split: str, options: dict) -> tuple[dict[str, Sequence], list[SequenceFailure]]:
        """Sequences by name, and failures: names on disk are bytes, and those that are no text are among them."""
        sequences, failures = {}, []
        for item in self.find(root, split, **options):
            if isinstance(item, SequenceFailure):
                failures.append(item)
            elif item.name == shown(item.name):
                sequences[item.name] = item
            else:
                name = shown(item.name)
                failures.append(SequenceFailure(name, f"{shown(root)}: the name {name} is no UTF-8; rename it"))
        if not sequences and not failures:
            outside = " that is not of the test" if split == CALIBRATION else ""
            told = f"holds no sequence of {self.name}, split {split}{outside}; it needs {self.needs}"
            raise fault(root, told, FgqError)
        return sequences, failures

    def listed(
        self, sequences: dict[str, Sequence], failures: list[SequenceFailure], wanted: FrameList, source: str
    ) -> Selection:
        """The frames of a frame list. What find() could not read matters only where the list asks for it."""
        known = {failure.sequence: failure.reason for failure in failures}
        chosen, failed = [], []
        for name, ids in wanted.sequences.items():
            try:
                if name not in sequences:
                    outside = ", or is of the test" if wanted.split == CALIBRATION else ""
                    whole = known.get(name.split("/")[0], f"{source}: {name} is not on disk{outside}")
                    raise SequenceError(known.get(name, whole))  # the whole group may have failed
                there = set(sequences[name].frames())
                missing = [frame for frame in ids if frame not in there]
                if missing:
                    raise fault(source, f"{name} has no frame {', '.join(missing[:5])}")
                chosen.append((sequences[name], ids))
            except FgqError as error:
                failed.append(SequenceFailure(name, str(error)))
        return Selection(self, chosen, failed, wanted)
