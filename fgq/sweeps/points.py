"""Points of a sweep: every choice of its parameters, with a name that says which."""

import itertools
import json
import re
from dataclasses import dataclass
from typing import Any

from fgq.errors import FgqError
from fgq.provenance.source import text_hash

MOST_POINTS = 5_000  # more is a slip of the keyboard
HASH_DIGITS = 8
LONGEST_VALUE, LONGEST_LABEL = 30, 100  # letters in a folder's name
Values = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """`parameters` are all that its kind has, `name` is its folder's: the values that vary, and a hash of all."""

    name: str
    parameters: Values

    @property
    def hash(self) -> str:
        return hash_in(self.name)


def hash_in(name: str) -> str:
    return name.rpartition("_")[2]


def expand(base: Values, grid: dict[str, list], also: list[Values], skip: list[Values]) -> list[Values]:
    """`base` with every choice from `grid`, then those of each entry of `also`, without what fits an entry of `skip`.

    An entry of `also` is a grid of its own: a list in it is a choice, and names of `grid` that it leaves out keep
    theirs. An entry of `skip` fits a point whose parameters have its values, or one of them where it lists several.
    What comes twice is taken once. Raises FgqError for too many points, for none, and for an entry that skips nothing.
    """
    grids = [grid] if grid or not also else []
    grids += [
        grid | {name: each if isinstance(each, list) else [each] for name, each in entry.items()} for entry in also
    ]
    number = sum(product_of(len(each) for each in choices.values()) for choices in grids)
    if number > MOST_POINTS:
        raise FgqError(f"{number} points are more than {MOST_POINTS}: give fewer values, or make several sweeps")
    found: dict[str, Values] = {}
    for choices in grids:
        for chosen in itertools.product(*choices.values()):
            point = base | dict(zip(choices, chosen, strict=True))
            found.setdefault(as_text(point), point)
    for number, entry in enumerate(skip, start=1):
        kept = {text: point for text, point in found.items() if not fits(point, entry)}
        if len(kept) == len(found):
            raise FgqError(
                f"skip: entry {number}, {json.dumps(entry)[:80]}, fits no point: correct it or leave it away"
            )
        found = kept
    if not found:
        raise FgqError("no point is left: give fewer entries in skip")
    return list(found.values())


def product_of(numbers) -> int:
    total = 1
    for number in numbers:
        total *= number
    return total


def fits(point: Values, entry: Values) -> bool:
    wanted = {name: each if isinstance(each, list) else [each] for name, each in entry.items()}
    return all(name in point and point[name] in each for name, each in wanted.items())


def as_text(values: Any) -> str:
    return json.dumps(values, sort_keys=True)


def varying(points: list[Values]) -> list[str]:
    """Names of the parameters that are not the same in all points, in their order."""
    names = list(dict.fromkeys(name for point in points for name in point))
    return [name for name in names if len({as_text(point.get(name)) for point in points}) > 1]


def named(points: list[Values], identities: list[Any], names: list[str]) -> list[Point]:
    """Points whose names tell of the parameters `names`; an identity is what decides a point's result."""
    found = []
    for values, identity in zip(points, identities, strict=True):
        label = "_".join(filter(None, (readable(name, values[name]) for name in names if name in values)))
        digest = text_hash(as_text(identity))[:HASH_DIGITS]
        found.append(Point(f"{label[:LONGEST_LABEL] or 'point'}_{digest}", values))
    return found


def readable(name: str, value: Any) -> str:
    """A text as it is, a number with its name, such as rtn and seed-0; nothing for None."""
    if value is None:
        return ""
    text = (
        value if isinstance(value, str) else f"{name}-{value if not isinstance(value, list | dict) else as_text(value)}"
    )
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.")[:LONGEST_VALUE]
