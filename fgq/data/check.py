"""Whether a download is whole, before an hour is lost on it: everything that is wrong, at once."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from fgq.data import about, dataset_names, find_dataset
from fgq.data.public.on_disk import DiskDataset
from fgq.data.sampling import RULES, FrameList, Rule
from fgq.data.sequence import Mark, Sequence, SequenceError, SequenceFailure, inconsistencies
from fgq.errors import FgqError


@dataclass(frozen=True)
class Check:
    """What was looked at, and `problems`: several of a sequence, each with its path; none when all is well."""

    dataset: str
    split: str
    sequences: int  # asked for, those that failed included
    frames: int  # read without fault
    problems: list[SequenceFailure]
    frame_list: FrameList
    published: int | None  # number of sequences in the published evaluations, if all were looked at


def check_dataset(
    name: str,
    root: str | Path | None,
    split: str | None = None,
    frame_list: str | Path | FrameList | None = None,
    only: tuple[str, ...] = (),
    every_frame: bool = False,
    progress: bool = True,
    **options,
) -> Check:
    """Reads images, cameras and depth of the published frames, of a frame list, or of `every_frame`.

    The usual split unless told; `only` these sequences or groups of them, such as ("chess", "fire/seq-03"); `options`
    are those of the dataset's `load` that say where things lie. Missing files, unreadable images, cameras that are no
    rotations, frames that a list names and nobody has, and copies become problems: of each frame the first. Raises
    FgqError when there is nothing to look at: no such dataset, root, split or frame list.
    """
    dataset = about(name)
    if name == "folder":
        found = find_dataset(name)(root=root, size=14).frame_list
        return Check(name, found.split, 1, found.num_frames, [], found, None)
    if not isinstance(dataset, DiskDataset):
        raise FgqError(f"{name} needs {dataset.needs}: there is nothing on disk to check")
    rule = Rule("all") if every_frame else None
    selection = dataset.select(root, split, rule, frame_list=frame_list, **options)
    chosen = [(sequence, frames) for sequence, frames in selection.chosen if is_meant(sequence.name, only)]
    problems = [failure for failure in selection.failures if is_meant(failure.sequence, only)]
    if not chosen and not problems:
        raise FgqError(f"{name}, split {selection.frame_list.split}: holds nothing called {', '.join(only)}")
    read, asked = 0, {failure.sequence for failure in problems} | {sequence.name for sequence, _ in chosen}
    for sequence, frames in tqdm(chosen, desc="checking", unit="sequence", disable=not progress, leave=False):
        whole, found = check_sequence(sequence, frames)
        read, problems = read + whole, problems + found
    kept = selection.frame_list.only(name for name in selection.frame_list.sequences if is_meant(name, only))
    published = None if only or frame_list is not None else dataset.published.get(kept.split)
    return Check(name, kept.split, len(asked), read, problems, kept, published)


def is_meant(sequence: str, only: tuple[str, ...]) -> bool:
    return not only or any(sequence == name or sequence.startswith(f"{name}/") for name in only)


def check_sequence(sequence: Sequence, frames: tuple[str, ...]) -> tuple[int, list[SequenceFailure]]:
    """How many frames can be read, and what is wrong with the others or with all together."""
    marks, problems = [], []
    for frame in frames:
        try:
            marks.append(Mark.of(sequence.read(frame), frame))
        except SequenceError as error:
            problems.append(SequenceFailure(sequence.name, str(error)))
    return len(marks), problems + [SequenceFailure(sequence.name, told) for told in inconsistencies(marks)]


def listing() -> list[tuple[str, str, str, str, str, str]]:
    """Of every dataset: name, splits with their published frames, which sequences are of the calibration, options that
    choose other frames, what it needs, and licence."""
    rows = []
    for dataset in map(about, dataset_names()):
        splits: dict[str, list[str]] = {}
        for split, rule in dataset.rules.items():
            splits.setdefault(str(rule), []).append(split)
        frames = "; ".join(f"{', '.join(names)}: {rule}" for rule, names in splits.items())
        chosen = "; ".join(f"{option}=N: {RULES[kind].format('N')}" for option, kind in dataset.choices.items())
        chosen = chosen or "frames=N: as many as asked for"
        rows.append((dataset.name, frames, dataset.calibration, chosen, dataset.needs, dataset.licence))
    return rows
