"""Parameters of a run file against those that a chapter declares, before any kernel starts."""

import math
from difflib import get_close_matches

from fgq.errors import FgqError
from fgq.runs.chapters import Chapter
from fgq.runs.plain_yaml import shown


def check_parameters(chapter: Chapter, parameters: dict, source: str) -> None:
    """Raises FgqError, naming the run file `source`, for an unknown parameter or one of another type; no coercion."""
    for name, value in parameters.items():
        if name not in chapter.defaults:
            near = get_close_matches(str(name), chapter.defaults, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(chapter.defaults) or 'none'}"
            raise FgqError(f"{source}: chapter {chapter.name} has no parameter {shown(name)}{hint}")
        default = chapter.defaults[name]
        if not same_kind(value, default):
            raise FgqError(
                f"{source}: parameter {name!r} of chapter {chapter.name} is {shown(value)} ({type(value).__name__}); "
                f"its default {shown(default)} is of type {type(default).__name__}"
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
