"""A sweep file: one thing to do, with a choice of values for its parameters. All is checked before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fgq.errors import FgqError
from fgq.runs.plain_yaml import read_yaml, shown
from fgq.sweeps.kind import Kind
from fgq.sweeps.kinds import find_kind
from fgq.sweeps.points import Point, expand, named, varying

Values = dict[str, Any]
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100)]


class Content(BaseModel):
    """What may stand in a sweep file. `run` and `call` say what a point is; without them it is a calibration."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Name = Field(description="of the sweep and its folder: letters, digits, - and _")
    description: str = Field("", description="one or two sentences")
    run: str | None = Field(None, description="a run file, beside this one or by its path from here")
    only: str | None = Field(None, description="the one chapter of it that is wanted, with those it needs")
    call: str | None = Field(
        None, description="a function, as module:function, the module beside this file or installed"
    )
    base: Values = Field({}, description="parameters that all points share")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field({}, description="lists of values, all with all")
    also: list[Values] = Field([], description="further points; what they do not name, they take from the grid")
    skip: list[Values] = Field([], description="points to leave out")

    @model_validator(mode="after")
    def check_together(self) -> "Content":
        if self.run and self.call:
            raise ValueError("run and call are two kinds of points: leave one away")
        if self.only and not self.run:
            raise ValueError("only names a chapter of a run file: say which with run")
        twice = self.base.keys() & self.grid.keys()
        if twice:
            raise ValueError(f"{sorted(twice)[0]!r} stands in base and in grid: leave it in one of them")
        return self


@dataclass(frozen=True)
class Sweep:
    path: Path
    name: str
    description: str
    kind: Kind
    points: tuple[Point, ...]
    varying: tuple[str, ...]  # parameters that are not the same in all points, in the order of the file


def read_sweep(path: str | Path) -> Sweep:
    """Raises FgqError, in one line that names the file and the field or parameter, for whatever cannot be meant."""
    path = Path(path).expanduser().absolute()
    content = check_content(read_yaml(path), str(path))
    kind = find_kind({"run": content.run, "only": content.only, "call": content.call}, path.parent, str(path))
    for place, values in places(content):
        kind.check_names(values, f"{path}: {place}")
    try:
        chosen = expand(content.base, content.grid, content.also, content.skip)
    except FgqError as error:
        raise FgqError(f"{path}: {error}") from error
    for values in chosen:
        kind.check(values, str(path))
    whole = [kind.complete(values) for values in chosen]
    order = list(dict.fromkeys(name for values in [*chosen, *whole] for name in values))
    names = sorted(varying(whole), key=order.index)
    points = named(whole, [[kind.spec, kind.identity(values)] for values in whole], names)
    return Sweep(path, content.name, content.description, kind, tuple(points), tuple(names))


def check_here(sweep: Sweep, points: Sequence[Point], devices: bool) -> None:
    """Raises FgqError for what a point needs and this machine lacks.

    And, where each worker has one of the `devices`, for a point that names another one.
    """
    own: dict[str, Values] = {}
    for point in points:
        device = str(point.parameters.get("device", ""))
        if devices and ":" in device:
            raise FgqError(f"{sweep.path}: parameter 'device' is {device!r}: with --devices write cuda, or auto")
        told = {name: point.parameters.get(name) for name in ("model_name", "root")}
        own.setdefault(str(told), point.parameters)
    for values in own.values():
        try:
            sweep.kind.check_here(values)
        except FgqError as error:
            raise FgqError(f"{sweep.path}: {error}") from error


def places(content: Content) -> list[tuple[str, Values]]:
    """Wherever parameters stand in the file, with a word for it."""
    found = [("base", content.base), ("grid", content.grid)]
    found += [(f"also, entry {number}", entry) for number, entry in enumerate(content.also, start=1)]
    return found + [(f"skip, entry {number}", entry) for number, entry in enumerate(content.skip, start=1)]


def check_content(content: object, where: str) -> Content:
    if not isinstance(content, dict):
        raise FgqError(f"{where}: a sweep file is a mapping with name and grid")
    known = Content.model_fields
    for field in content:
        if field not in known:
            near = get_close_matches(field, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise FgqError(f"{where}: unknown field {field!r}{hint}")
    try:
        return Content(**content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise FgqError(f"{where}: {message}") from error
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise FgqError(f"{where}: the field {place!r} is missing: {known[first['loc'][0]].description}") from error
        about = known[first["loc"][0]].description
        told = f"{message[:1].lower()}{message[1:]} ({first['loc'][0]}: {about})"
        raise FgqError(f"{where}: {place} is {shown(first['input'])}: {told}") from error
