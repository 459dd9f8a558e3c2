"""The house stays as it was built: one way through it, no circle, files and functions of a size that can be read."""

import ast
import re

import pytest

from tests.architecture import (
    MATERIAL,
    METHOD,
    ROOT,
    WORKSHOP,
    circles,
    drawing,
    functions,
    imports,
    lines,
    modules,
    room,
)

VERBS = {
    "fgq.calibrate.calibrate.quantize",
    "fgq.fisher.estimate.estimate_fisher",
    "fgq.checkpoint.load.load_model",
    "fgq.data.load_scenes",
    "fgq.evaluation.evaluate.evaluate",
}
ONE_HOME = {  # what stands in one place, and where
    r"os\.replace\(": {"fgq/writing.py"},
    r"\bsafe_open\(": {"fgq/tensor_files.py", "fgq/checkpoint/tensors.py"},
    r"SeedSequence\(": {"fgq/randomness.py"},
    r"\[:, :?1:special\]|slice\(1, num_special\)": {"fgq/vggt/token_kinds.py"},
    r"\.acos\(|arccos\(": set(),
    r"ru_maxrss|VmHWM:": {"fgq/memory/peak.py"},
    r"name\[0\] ==|name\[0\],": set(),
}


def test_every_room_is_known():
    assert {room(name) for name in modules()} - {""} == set(METHOD + MATERIAL + WORKSHOP)


def test_nothing_imports_itself_by_any_way_round():
    assert circles() == []


def test_the_method_imports_no_workshop():
    upwards = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if room(name) in METHOD + MATERIAL and room(other) in WORKSHOP
    ]
    assert upwards == []


def test_the_ground_imports_no_room():
    ground = {name for name in modules() if not room(name) and name != "fgq.__main__"}
    assert [name for name in ground if any(room(other) for other in imports()[name])] == []


def test_files_are_short():
    assert {name: lines(name) for name in modules() if lines(name) > 250} == {}


def test_functions_are_short_and_take_few_arguments():
    long, wide = [], []
    for name, node in functions():
        told = ast.get_docstring(node, clean=False)
        length = node.end_lineno - node.lineno + 1 - (len(told.splitlines()) if told else 0)
        if length > 60:
            long.append(f"{name}: {length} lines")
        given = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        given = [each for each in given if each not in ("self", "cls", "ctx")]
        free = name in VERBS or room(name) == "commands" or name.endswith(".load") or name == "fgq.vggt.config.__init__"
        if len(given) > 8 and not free:
            wide.append(f"{name}: {len(given)} parameters")
    assert (long, wide) == ([], [])


def test_the_forward_pass_of_a_block_is_written_once():
    homes = [
        name
        for name, path in modules().items()
        if re.search(r"\bls2\(", path.read_text(encoding="utf-8")) and "def run" in path.read_text(encoding="utf-8")
    ]
    assert homes == ["fgq.vggt.attention"]
    calls = [path for path in modules().values() if re.search(r"\.ls[12]\(", path.read_text(encoding="utf-8"))]
    assert [path.name for path in calls] == ["attention.py"]


@pytest.mark.parametrize("pattern", ONE_HOME, ids=lambda pattern: re.sub(r"\W+", " ", pattern).strip())
def test_one_thing_has_one_home(pattern):
    found = {
        path.relative_to(ROOT).as_posix()
        for path in modules().values()
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }
    assert found == ONE_HOME[pattern]


def test_the_drawing_shows_the_imports_of_today():
    kept = (ROOT / "book" / "figures" / "architecture.svg").read_text(encoding="utf-8")
    assert kept == drawing(), "run python -m tests.architecture"


def test_the_page_names_every_room():
    page = (ROOT / "book" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in METHOD + MATERIAL + WORKSHOP if f"`{name}`" not in page] == []
