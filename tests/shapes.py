"""Shapes in signatures, checked as the tests call them.

jaxtyping's hook decorates every function of the packages below, also a function inside a function, and that one anew
whenever the outer one runs. Here a function without annotations is left as it is, for it has nothing to check, and one
with them is checked in its first calls of each test and then believed: the checks of a calibration's hundred thousand
calls took longer than the calls.
"""

import functools
from collections import Counter

import jaxtyping

SHAPED = ("geometry", "vggt", "quant", "affine", "fisher", "calibrate", "metrics", "evaluation")
CHECKED_CALLS = 100  # of a function, in one test

# The numeric tower lets an int stand for a float, as everywhere in Python.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

calls = Counter()  # by the function's code; cleared before each test


@functools.cache  # conftest.py is imported under two names
def check_shapes() -> None:
    """From now on whatever is imported of the packages is checked."""
    decorate = jaxtyping.jaxtyped

    def jaxtyped(*, typechecker):
        def choose(found):
            if isinstance(found, type):  # a dataclass is checked where one is made
                return decorate(found, typechecker=typechecker)
            if not found.__annotations__ or calls[found.__code__] >= CHECKED_CALLS:
                return found
            return at_first(decorate(found, typechecker=typechecker), found)

        return choose

    jaxtyping.jaxtyped = jaxtyped
    jaxtyping.install_import_hook([f"fgq.{room}" for room in SHAPED], CHECKER)


def at_first(checked, plain):
    """`checked` for a test's first calls, `plain` after them."""

    @functools.wraps(plain)
    def call(*args, **kwargs):
        calls[plain.__code__] += 1
        return (checked if calls[plain.__code__] <= CHECKED_CALLS else plain)(*args, **kwargs)

    return call
