"""What the README states as a number or a name is so."""

import re
from pathlib import Path

import torch
from typer.main import get_command

from fgq.calibrate import RECIPES
from fgq.commands.cli import app
from fgq.memory.random_weights import public_shapes
from fgq.runs.runfile import read_run_file
from fgq.vggt import VGGTConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBERS = dict(zip(range(1, 13), "one two three four five six seven eight nine ten eleven twelve".split(), strict=True))


def test_the_big_model_has_the_tensors_and_bytes_that_are_told():
    shapes = public_shapes(VGGTConfig())
    gigabytes = sum(4 * torch.Size(shape).numel() for shape in shapes.values()) / 1e9
    assert f"{len(shapes):,} tensors, {gigabytes:.2f} GB" in README


def test_the_book_has_the_chapters_that_are_told():
    count = len(read_run_file(ROOT / "book" / "runs" / "tiny.yaml").steps)
    assert f"`make book`: {NUMBERS[count]} chapters" in README


def test_recipes_commands_and_rooms_exist():
    (row,) = [line for line in README.splitlines() if "fgq/calibrate" in line]
    told = re.search(r"recipes (.*?);", row)[1]
    assert re.findall(r"`([^`]+)`", told) == list(RECIPES)
    commands = get_command(app).commands
    assert set(re.findall(r"\bfgq ([a-z][a-z-]+)", README)) - {"on"} <= set(commands)
    rooms = re.findall(r"\(fgq/(\w+)\)", README)
    assert rooms and all((ROOT / "fgq" / room).is_dir() for room in rooms)


def test_targets_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"\.PHONY: (.*)", makefile)[1].split()
    assert set(re.findall(r"`make ([\w-]+)", README)) <= set(targets)
