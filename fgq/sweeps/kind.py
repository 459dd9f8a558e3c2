"""What every kind of point can do, and what it gives."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

Values = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """`metrics` has a row a number, with the columns metric and value and perhaps more, such as unit, low and high.

    `about` holds single facts of the point beside them, such as seconds of its parts; each becomes a column.
    """

    metrics: pd.DataFrame
    about: Values = field(default_factory=dict)


class Kind(Protocol):
    spec: dict[str, str | None]  # from which `find_kind` makes it again, on another machine too

    def check_names(self, values: Values, where: str) -> None:
        """Raises FgqError, which says `where`, for a name that no point of this kind has for a parameter."""

    def check(self, values: Values, where: str) -> None:
        """Raises FgqError for values that a point cannot have, alone or together."""

    def check_here(self, values: Values) -> None:
        """Raises FgqError for what a point needs and this machine lacks."""

    def complete(self, values: Values) -> Values:
        """With defaults for what is not given."""

    def identity(self, values: Values) -> object:
        """What decides the result, as plain values: points that agree in it are one."""

    def compute(self, values: Values, folder: Path, shared: Path) -> Outcome:
        """Does it, with its files in `folder`. What several points can use lies in the folder `shared`."""
