"""Run files with a mistake, drawn from the shipped ones: each is refused before anything starts, and names the key."""

import copy
import random
from functools import cache
from pathlib import Path

import pytest
import yaml

from fgq.errors import FgqError
from fgq.runs import runfile
from fgq.runs.parameters import FIELDS

RUNS = Path(__file__).parents[2] / "book" / "runs"
CASES, SEED = 200, 16
JUNK = [
    None,
    True,
    -1,
    1.5,
    10**12,
    2**70,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x\ny",
    [],
    {},
    [[1]],
    [None],
    {"a": [1]},
]
JUNK += [[[[]]], {"é": {"ö": [-1]}}, "W99A4", "a" * 5000, "../..", "\0"]
DEEP = "[" * 30 + "]" * 30


def dump(content: dict) -> str:
    return yaml.safe_dump(content, width=10**6)  # a line a key


def drawn_name(draw: random.Random, name: str) -> str:
    """The name with one letter gone, doubled, or exchanged with the next one."""
    place = draw.randrange(len(name) - 1)
    a, b = name[place], name[place + 1]
    return name[:place] + draw.choice([b, a + a + b, b + a if a != b else a]) + name[place + 2 :]


def mappings(content: object) -> list[dict]:
    """All of them, nested ones too, which have a key."""
    inside = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    found = [each for value in inside for each in mappings(value)]
    return [content, *found] if isinstance(content, dict) and content else found


def with_a_value_of_junk(draw, content):
    where = draw.choice(mappings(content))
    key = draw.choice(sorted(where))
    where[key] = draw.choice(JUNK)
    return dump(content), key


def with_a_slip_in_a_key(draw, content):
    where = draw.choice(mappings(content))
    key = draw.choice(sorted(key for key in where if len(key) > 2))
    wrong = drawn_name(draw, key)
    where[wrong] = where.pop(key)
    return dump(content), wrong


def with_an_unknown_key(draw, content):
    key = f"zz_{draw.randrange(1000)}"
    draw.choice(mappings(content))[key] = draw.choice(JUNK)
    return dump(content), key


def with_a_parameter_out_of_range(draw, content):
    chapters = content["chapters"] = [{"chapter": e} if isinstance(e, str) else e for e in content["chapters"]]
    key = draw.choice(sorted(FIELDS))
    draw.choice(chapters).setdefault("parameters", {})[key] = draw.choice(
        [-1, 0, 10**9, float("nan"), "", [-1], [""], [0.0], {}]
    )
    return dump(content), key


def with_a_key_twice(draw, content):
    lines = dump(content).splitlines()
    place = draw.choice([i for i, line in enumerate(lines) if ": " in line and not line.endswith(("'", '"'))])
    return "\n".join([*lines[: place + 1], lines[place].replace("- ", "  "), *lines[place + 1 :]]), key_of(lines[place])


def with_a_value_that_is_no_yaml(draw, content):
    lines = dump(content).splitlines()
    place = draw.choice([i for i, line in enumerate(lines) if ": " in line])
    value = draw.choice(["[1, 2", "{a: ", "*gone", "!!python/name:os.system x", "2020-01-01", DEEP, "@"])
    key = key_of(lines[place])
    lines[place] = lines[place].split(": ")[0] + ": " + value
    return "\n".join(lines), key


def key_of(line: str) -> str:
    return line.split(": ")[0].lstrip("- ")


def inner_keys(text: str, key: str) -> list[str]:
    """Of mappings that are the key's values: a message may name what is wrong in them instead."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, AttributeError):
        return []
    return [inner for each in mappings(content) if key in each for found in mappings([each[key]]) for inner in found]


MUTATIONS = [
    with_a_value_of_junk,
    with_a_slip_in_a_key,
    with_an_unknown_key,
    with_a_parameter_out_of_range,
    with_a_key_twice,
    with_a_value_that_is_no_yaml,
]


@pytest.fixture(scope="module")
def runs():
    """In the book's folder, the place for a run file that is thrown away; chapters are parsed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runfile, "read_chapter", cache(runfile.read_chapter))
        place = RUNS / ".fuzzed.yaml"
        yield place
        place.unlink(missing_ok=True)


def test_two_hundred_run_files_with_a_mistake_are_refused_and_name_the_key(runs, no_kernel):
    draw, shipped = random.Random(SEED), sorted(RUNS.glob("[!.]*.yaml"))
    contents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in shipped]
    refused = accepted = 0
    while refused < CASES:
        mutation = MUTATIONS[(refused + accepted) % len(MUTATIONS)]
        text, key = mutation(draw, copy.deepcopy(draw.choice(contents)))
        runs.write_text(text, encoding="utf-8")
        try:
            runfile.read_run_file(runs)
        except FgqError as error:
            told = str(error)
            rest = told.removeprefix(str(runs))
            named = any(repr(inner)[1:-1] in rest for inner in (key, *inner_keys(text, key)))
            assert rest != told and named, f"{mutation.__name__} of {key}: {told}"
            assert len(told.splitlines()) == 1 and len(told) < 700
            refused += 1
        else:
            accepted += 1
        assert accepted < 2 * CASES, "most mistakes go through"
    assert accepted < refused
