"""A run file: which chapters, with which parameters. Everything is checked before anything runs."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from fgq.errors import FgqError
from fgq.runs.chapters import Chapter, one_line, read_chapter
from fgq.runs.parameters import check_parameters
from fgq.runs.replay import Replay

KINDS = {"name": str, "description": str, "expected": dict, "defaults": dict, "chapters": list, "publish": list}
KINDS |= {"replay": dict}
REPLAY_KINDS = {"parameters": dict, "compare": list, "tolerance": float}
REPLAY_OPTIONS = {"rows": dict, "learned": dict, "learned_tolerance": float}
CHAPTER_KINDS = {"chapter": str, "parameters": dict, "needs": list, "reads": list}


@dataclass(frozen=True)
class Step:
    chapter: Chapter
    parameters: dict  # what the run file says; the chapter's own defaults stand for the rest
    needs: tuple[str, ...]  # earlier chapters whose artefacts it reads
    reads: tuple[str, ...] = ()  # files of the book's folder, such as results/x.csv, copied to where it runs

    @property
    def all_parameters(self) -> dict:
        return self.chapter.defaults | self.parameters


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


def read_run_file(path: str | Path) -> RunFile:
    """Raises FgqError for a missing or broken file, an unknown field, chapter or parameter, a value of a wrong type."""
    path = Path(path).resolve()
    content = read_yaml(path)
    check_fields(content, KINDS, {"name", "chapters"}, f"{path}")
    if not re.fullmatch(r"[\w.-]+", content["name"]) or content["name"].startswith("."):
        raise FgqError(f"{path}: name {content['name']!r} cannot name a folder: use letters, digits, - and _")
    if not content["chapters"]:
        raise FgqError(f"{path}: chapters is empty: list at least one chapter")
    defaults = content.get("defaults", {})
    steps: list[Step] = []
    for entry in content["chapters"]:
        steps.append(read_step(path, entry, defaults, tuple(step.chapter.name for step in steps)))
    unused = [name for name in defaults if not any(name in step.chapter.defaults for step in steps)]
    if unused:
        raise FgqError(f"{path}: default {unused[0]!r} is a parameter of none of the chapters")
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
    if ("learned" in content) != ("learned_tolerance" in content):
        raise FgqError(f"{path}: replay: learned and learned_tolerance go together")
    for step in steps:
        mine = {name: value for name, value in content["parameters"].items() if name in step.chapter.defaults}
        check_parameters(step.chapter, mine, f"{path}: replay")
    unused = [name for name in content["parameters"] if not any(name in step.chapter.defaults for step in steps)]
    if unused:
        raise FgqError(f"{path}: replay: {unused[0]!r} is a parameter of none of the chapters")
    rows, learned = (
        {column: tuple(values) for column, values in content.get(choice, {}).items()} for choice in ("rows", "learned")
    )
    tolerances = content["tolerance"], content.get("learned_tolerance")
    return Replay(content["parameters"], tuple(content["compare"]), tolerances[0], rows, learned, tolerances[1])


def read_step(path: Path, entry: object, defaults: dict, earlier: tuple[str, ...]) -> Step:
    entry = {"chapter": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict):
        raise FgqError(f"{path}: a chapter entry must be a name or a mapping, not {entry!r}")
    check_fields(entry, CHAPTER_KINDS, {"chapter"}, f"{path}: chapter {entry.get('chapter', 'entry')}")
    name = entry["chapter"]
    if name in earlier:
        raise FgqError(f"{path}: chapter {name} is listed twice")
    needs = tuple(entry.get("needs", earlier))
    unknown = [need for need in needs if need not in earlier]
    if unknown:
        raise FgqError(f"{path}: chapter {name} needs {unknown[0]!r}, which is not listed before it")
    chapter = read_chapter(path.parent.parent, name)
    shared = {parameter: value for parameter, value in defaults.items() if parameter in chapter.defaults}
    parameters = shared | entry.get("parameters", {})
    check_parameters(chapter, parameters, str(path))
    return Step(chapter, parameters, needs, tuple(entry.get("reads", ())))


class OnceLoader(yaml.SafeLoader):
    """YAML's plain types; a key that is given twice is an error, not the second value."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict:
    if not path.is_file():
        raise FgqError(f"{path}: no such run file")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), OnceLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise FgqError(f"{path}{where}: not YAML: {getattr(error, 'problem', None) or one_line(str(error))}") from error
    if not isinstance(content, dict):
        raise FgqError(f"{path}: a run file is a mapping with name and chapters")
    return content


def check_fields(content: dict, kinds: dict[str, type], needed: set[str], where: str) -> None:
    unknown = sorted(str(key) for key in content if key not in kinds)
    if unknown:
        raise FgqError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(kinds)}")
    missing = sorted(needed - content.keys())
    if missing:
        raise FgqError(f"{where}: the field {missing[0]!r} is missing")
    for name, value in content.items():
        if not isinstance(value, kinds[name]):
            raise FgqError(f"{where}: {name} must be a {kinds[name].__name__}, not {value!r}")
