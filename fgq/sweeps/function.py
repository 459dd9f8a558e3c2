"""Points that call a function of one's own."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ConfigDict, ValidationError, create_model

from fgq.errors import FgqError
from fgq.runs.plain_yaml import shown
from fgq.sweeps.kind import Outcome, Values
from fgq.writing import reason

FOLDER = "folder"  # a parameter of this name is no choice: it gets the point's own folder


@dataclass(frozen=True)
class Function:
    """A parameter of it is a parameter of the points, with its default and, where it is annotated, its type.

    It returns a mapping from metric to number, a table with the columns metric and value, or a `Report`.
    """

    spec: dict
    function: Callable

    @classmethod
    def find(cls, target: str, folder: Path, where: str) -> "Function":
        """`target` is module:function, looked for in `folder` first. Raises FgqError where there is none."""
        module, sign, name = target.partition(":")
        if not (sign and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise FgqError(f"{where}: call is {shown(target)}: write module:function, such as measure:score")
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # a module may raise whatever it likes
            raise FgqError(f"{where}: call: {target} cannot be imported ({reason(error)})") from error
        if not callable(found):
            raise FgqError(f"{where}: call: {target} is no function")
        return cls({"call": target}, found)

    @property
    def signature(self) -> dict[str, inspect.Parameter]:
        found = inspect.signature(self.function).parameters
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {name: each for name, each in found.items() if each.kind in named and name != FOLDER}

    def check_names(self, values: Values, where: str) -> None:
        for name in values:
            if name not in self.signature:
                near = get_close_matches(name, self.signature, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(self.signature) or 'none'}"
                raise FgqError(f"{where}: {self.spec['call']} has no parameter {name!r}{hint}")

    def check(self, values: Values, where: str) -> None:
        empty = inspect.Parameter.empty
        fields = {
            name: (Any if each.annotation in (empty, float) and isinstance(values.get(name), int) else
                   Any if each.annotation is empty else each.annotation, ... if each.default is empty else each.default)
            for name, each in self.signature.items()
        }  # fmt: skip
        model = create_model("Given", __config__=ConfigDict(strict=True, arbitrary_types_allowed=True), **fields)
        try:
            model(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            given = "not given" if first["type"] == "missing" else shown(first["input"])
            raise FgqError(f"{where}: parameter {place!r} is {given}: {first['msg'].lower()}") from error

    def check_here(self, values: Values) -> None:
        """It says itself what it lacks."""

    def complete(self, values: Values) -> Values:
        defaults = {name: each.default for name, each in self.signature.items()}
        return {name: default for name, default in defaults.items() if default is not inspect.Parameter.empty} | values

    def identity(self, values: Values) -> object:
        return values

    def compute(self, values: Values, folder: Path, shared: Path) -> Outcome:
        own = {FOLDER: folder} if FOLDER in inspect.signature(self.function).parameters else {}
        found = self.function(**values, **own)
        if hasattr(found, "summary"):  # a Report, without importing what that needs
            found.save(folder / "report.csv")
        return Outcome(as_metrics(found, self.spec["call"]))


def as_metrics(found: Any, source: str) -> pd.DataFrame:
    """Raises FgqError for what has no metrics in it."""
    if hasattr(found, "summary"):
        found = found.summary().rename(columns={"mean": "value"})
    if isinstance(found, Mapping):
        found = pd.DataFrame({"metric": list(found), "value": list(found.values())})
    if not isinstance(found, pd.DataFrame) or not {"metric", "value"} <= set(found.columns):
        raise FgqError(
            f"{source} gave {type(found).__name__}: return a mapping, a table of metric and value, or a Report"
        )
    return found
