"""A run file: which chapters, with which parameters. Everything is checked before anything runs."""

import math
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path, PurePosixPath

from fgq.errors import FgqError
from fgq.provenance.results import Replay
from fgq.runs.chapters import Chapter, read_chapter
from fgq.runs.parameters import FIELDS, check_values
from fgq.runs.plain_yaml import LONGEST_NAME, read_yaml, shown

TEXTS = [""]  # a list of texts; kinds are told by an example, as parameters are
KINDS = {"name": "", "description": "", "expected": {}, "defaults": {}, "chapters": [], "publish": TEXTS, "replay": {}}
REPLAY_KINDS = {"parameters": {}, "compare": TEXTS, "tolerance": 0.1}
REPLAY_OPTIONS = {"rows": {}, "learned": {}}
NAME = r"\w[\w.-]*"  # of a chapter, a table, a run: no folder in it, and not hidden
CHAPTER_KINDS = {"chapter": "", "parameters": {}, "needs": TEXTS, "reads": TEXTS}


@dataclass(frozen=True)
class Step:
    whole: Chapter
    parameters: dict  # what the run file says; the chapter's own defaults stand for the rest
    needs: tuple[str, ...]  # earlier chapters whose artefacts it reads
    reads: tuple[str, ...] = ()  # files of the book's folder, such as results/x.csv, copied to where it runs

    @property
    def all_parameters(self) -> dict:
        return self.whole.defaults | self.parameters

    @cached_property
    def chapter(self) -> Chapter:
        """Its cells that are for this model and dataset."""
        return self.whole.edition(self.all_parameters)

    def with_parameters(self, values: dict) -> "Step":
        """With those of the values that the chapter has parameters for."""
        return replace(self, parameters=self.parameters | self.chapter.own(values))


@dataclass(frozen=True)
class RunFile:
    """`publish` names result tables (CSV among the artefacts) that go to the book's results folder with provenance."""

    path: Path
    name: str
    description: str
    expected: dict  # what a reader should see and pay, such as minutes and memory
    steps: tuple[Step, ...]
    publish: tuple[str, ...]
    replay: Replay | None = None  # how to tell, in seconds, whether the code still computes what it publishes

    @property
    def book(self) -> Path:
        """The folder of the chapters; the run file lies in a folder inside it."""
        return self.path.parent.parent

    def step(self, chapter: str) -> Step:
        for step in self.steps:
            if step.chapter.name == chapter:
                return step
        names = ", ".join(step.chapter.name for step in self.steps)
        raise FgqError(f"{self.path}: the run has no chapter {chapter!r}; it has {names}")

    def with_parameters(self, values: dict) -> "RunFile":
        """With other values of the parameters, in every chapter that has them. Raises FgqError as `read_run_file`."""
        where = f"{self.path}, -p"
        check_all_used(values, list(self.steps), f"{where}:")
        for step in self.steps:
            check_parameters(step.chapter, step.chapter.own(values), where)
        return replace(self, steps=tuple(step.with_parameters(values) for step in self.steps))

    def in_short(self) -> "RunFile":
        """With the replay's parameters; it publishes nothing."""
        steps = tuple(step.with_parameters(self.replay.parameters) for step in self.steps)
        return replace(self, name=f"{self.name} in short", steps=steps, publish=(), replay=None)


def read_run_file(path: str | Path) -> RunFile:
    """Raises FgqError for a missing or broken file, an unknown field, chapter or parameter, a value of a wrong type."""
    try:
        path = Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise FgqError(f"{path}: no such run file ({error})") from error
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise FgqError(f"{path}: a run file is a mapping with name and chapters")
    check_fields(content, KINDS, {"name", "chapters"}, f"{path}")
    check_name(content["name"], f"{path}: name")
    for table in content.get("publish", ()):
        check_name(table, f"{path}: publish")
    for name, value in content.get("expected", {}).items():
        if not isinstance(value, str | int | float) or not str(value).isprintable() or len(str(value)) > LONGEST_NAME:
            raise FgqError(f"{path}: expected: {name} must be a number or a short text, not {shown(value)}")
    if not content["chapters"]:
        raise FgqError(f"{path}: chapters is empty: list at least one chapter")
    defaults = content.get("defaults", {})
    steps: list[Step] = []
    for entry in content["chapters"]:
        steps.append(read_step(path, entry, defaults, tuple(step.chapter.name for step in steps)))
    check_all_used(defaults, steps, f"{path}: default")
    return RunFile(
        path=path,
        name=content["name"],
        description=content.get("description", ""),
        expected=content.get("expected", {}),
        steps=tuple(steps),
        publish=tuple(content.get("publish", ())),
        replay=read_replay(path, content["replay"], steps) if "replay" in content else None,
    )


def read_replay(path: Path, content: dict, steps: list[Step]) -> Replay:
    check_fields(content, REPLAY_KINDS | REPLAY_OPTIONS, set(REPLAY_KINDS), f"{path}: replay")
    for step in steps:
        check_parameters(step.chapter, step.chapter.own(content["parameters"]), f"{path}: replay")
    check_all_used(content["parameters"], steps, f"{path}: replay:")
    rows = {"rows": {}, "learned": {}}
    for choice, chosen in rows.items():
        for column, values in content.get(choice, {}).items():
            if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
                raise FgqError(f"{path}: replay: {choice}: {column} must be a list of values, not {shown(values)}")
            chosen[column] = tuple(values)
    return Replay(**(content | rows | {"compare": tuple(content["compare"])}))


def read_step(path: Path, entry: object, defaults: dict, earlier: tuple[str, ...]) -> Step:
    entry = {"chapter": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict):
        raise FgqError(f"{path}: chapters: an entry must be a name or a mapping, not {shown(entry)}")
    name = entry.get("chapter", "entry")
    check_name(name, f"{path}: chapter")
    check_fields(entry, CHAPTER_KINDS, {"chapter"}, f"{path}: chapter {name}")
    reads = tuple(str(PurePosixPath(file)) for file in entry.get("reads", ()))
    for file in reads:  # a part of one from the root, or of one that goes up, is no name
        for part in PurePosixPath(file).parts or (".",):
            check_name(part, f"{path}: chapter {name} reads {shown(file)}, no file inside the book's folder:")
    if name in earlier:
        raise FgqError(f"{path}: chapter {name} is listed twice")
    needs = tuple(entry.get("needs", earlier))
    unknown = [need for need in needs if need not in earlier]
    if unknown:
        raise FgqError(f"{path}: chapter {name} needs {shown(unknown[0])}, which is not listed before it")
    chapter = read_chapter(path.parent.parent, name)
    parameters = chapter.own(defaults) | entry.get("parameters", {})
    check_parameters(chapter, parameters, str(path))
    return Step(chapter, parameters, needs, reads)


def check_all_used(parameters: dict, steps: list[Step], where: str) -> None:
    known = list(dict.fromkeys(name for step in steps for name in step.chapter.defaults))
    unused = [name for name in parameters if name not in known]
    if unused:
        near = get_close_matches(unused[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise FgqError(f"{where} {unused[0]!r} is a parameter of none of the chapters{hint}")


def check_name(name: object, where: str) -> None:
    """Raises FgqError unless it can name a file or folder in any folder, and nothing outside of it."""
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or len(name.encode()) > LONGEST_NAME:
        raise FgqError(f"{where} {shown(name)} cannot name a file or folder: use letters, digits, - and _")


def check_fields(content: dict, kinds: dict[str, object], needed: set[str], where: str) -> None:
    unknown = sorted(content.keys() - kinds)
    if unknown:
        raise FgqError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(kinds)}")
    missing = sorted(needed - content.keys())
    if missing:
        raise FgqError(f"{where}: the field {missing[0]!r} is missing")
    for name, value in content.items():
        if not same_kind(value, kinds[name]):
            kind = "list of texts" if kinds[name] is TEXTS else type(kinds[name]).__name__
            raise FgqError(f"{where}: {name} must be a {kind}, not {shown(value)}")


def check_parameters(chapter: Chapter, parameters: dict, source: str) -> None:
    """Raises FgqError, naming the run file `source`, for an unknown parameter or a value that it cannot have.

    Values are checked by what `fgq.runs.parameters` says of a name, and where it says nothing by the default's type.
    """
    where = f"{source}: chapter {chapter.name}"
    check_values(chapter.defaults, parameters, where)
    for name, value in parameters.items():
        default = chapter.defaults[name]
        if name not in FIELDS and not same_kind(value, default):
            raise FgqError(
                f"{where}: parameter {name!r} is {shown(value)} ({type(value).__name__}); its default {shown(default)} "
                f"is of type {type(default).__name__}"
            )


def same_kind(value: object, default: object) -> bool:
    """Whether a value can stand where the default stood. A whole number may be given for a float; a default of None
    says nothing about the type."""
    if default is None:
        return True
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if type(value) is not type(default):
        return False
    if isinstance(default, list) and default:
        return all(same_kind(item, default[0]) for item in value)
    return True
