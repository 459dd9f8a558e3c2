"""YAML of which nothing surprising can come: mappings with names, lists, texts, numbers, yes and no, within limits."""

from pathlib import Path

import yaml

from fgq.errors import FgqError
from fgq.writing import reason

MOST_BYTES = 32_000  # of a file; the book's longest has 1,500
DEEPEST = 10  # lists and mappings inside one another
LONGEST_NAME = 100
BEYOND = 2**63  # whole numbers stay below, as in every table that they may end up in
PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}


class Refused(yaml.MarkedYAMLError):
    """YAML, but not plain."""


class PlainLoader(yaml.SafeLoader):
    """Refuses aliases, tags, dates, keys that are no text or given twice, what cannot be a number, and deep nesting."""

    def __init__(self, stream):
        super().__init__(stream)
        self.depth = 0
        self.keys: list[str] = []  # around what is being read; an error leaves them as they were when it was met

    def compose_node(self, parent, index):
        if isinstance(index, yaml.ScalarNode):  # the value of that key
            self.keys.append(index.value)
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise refusal(f"the alias *{event.anchor[:LONGEST_NAME]} (write the value out)", event)
        if event.tag is not None:
            raise refusal(f"the tag {event.tag[:LONGEST_NAME]} (write the plain value)", event)
        if self.depth == DEEPEST:
            raise refusal(f"more than {DEEPEST} lists and mappings inside one another", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node.tag not in PLAIN:
            raise refusal(f"{shown(node.value)}, which YAML takes for a {node.tag.split(':')[-1]} (quote it)", event)
        node.keys = self.keys.copy()
        if isinstance(index, yaml.ScalarNode):
            self.keys.pop()
        return node

    def construct_object(self, node, deep=False):
        self.keys = node.keys
        try:
            value = super().construct_object(node, deep)
            self.keys = node.keys  # no more those of what is inside
        except ValueError as error:
            raise refusal(f"{shown(node.value)}, which is no number", node) from error
        if isinstance(value, int) and abs(value) >= BEYOND:
            raise refusal(f"the number {shown(node.value)} beyond 64 bits", node)
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise refusal(f"{shown(value)}, which is no text", node)
        return value

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise refusal(f"the key {shown(key.value)}, which is no text (quote it)", key)
            if len(key.value) > LONGEST_NAME:
                raise refusal(f"a key of more than {LONGEST_NAME} letters", key)
            if key.value in seen:
                raise refusal(f"the key {key.value!r} twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def refusal(what: str, place: yaml.Event | yaml.Node) -> Refused:
    return Refused(problem=f"it has {what}", problem_mark=place.start_mark)


def read_yaml(path: Path) -> object:
    """Of at most 32 kB. Raises FgqError, with the line where there is one."""
    try:
        if not path.is_file():
            raise FileNotFoundError(0, "no such run file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise FgqError(f"{path}: {reason(error)}") from error
    if len(content) > MOST_BYTES:
        raise FgqError(f"{path}: a run file has at most {MOST_BYTES // 1000} kB")
    return parse_yaml(content, str(path))


def parse_yaml(content: bytes | str, source: str) -> object:
    """Raises FgqError that says where in `source` it is no plain YAML."""
    keys: list[str] = []
    try:
        loader = PlainLoader(content.decode("utf-8") if isinstance(content, bytes) else content)
        try:
            return loader.get_single_data()
        finally:
            keys = loader.keys
            loader.dispose()
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two for signs and numbers that are none
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        inside = f" (in {'.'.join(key[:LONGEST_NAME] for key in keys[:DEEPEST])})" if keys else ""
        problem = one_line(getattr(error, "problem", None) or str(error))
        told = "" if isinstance(error, Refused) else "not YAML: "
        raise FgqError(f"{source}{where}: {told}{problem}{inside}") from error


def shown(value: object) -> str:
    """A value for a message of one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} letters)"


def one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())[:400]
