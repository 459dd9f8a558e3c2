import subprocess

import pytest

from fgq.provenance.source import COMPUTING, PACKAGE, SHOWN, file_hash, source_files, syntax
from tests.architecture import METHOD

CODE = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    "same",
    [
        '"""Module."""\n\n\ndef f(x):\n    """Adds one."""\n    # really\n    return (x\n            + 1)\n',
        "def f( x ):\n\n    return x+1",
    ],
)
def test_words_and_layout_do_not_count(same):
    assert syntax(same) == syntax(CODE)


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    return x + 2\n",
        "def f(x):\n    return x + 1.0\n",
        "def f(x):\n    return 1 + x\n",
        "def f(y):\n    return y + 1\n",
        "def f(x, y=None):\n    return x + 1\n",
        "def f(x):\n    'one'.strip()\n    return x + 1\n",
        "def f(x) -> int:\n    return x + 1\n",
        CODE + "f = f\n",
    ],
)
def test_what_is_computed_counts(other):
    assert syntax(other) != syntax(CODE)


def test_values_that_look_alike_differ():
    found = {syntax(f"x = {value}") for value in ("0", "False", "None", "''", "0.0", "'0'", "b'0'", "()", "[]", "...")}
    assert len(found) == 10


def test_computing_code_is_all_there_and_runs_do_not_count():
    assert all(path.exists() for path in COMPUTING)
    files = source_files()
    assert (
        "fgq/quant/grid.py" in files and {"fgq/errors.py", "fgq/tensor_files.py", "fgq/randomness.py"} <= files.keys()
    )
    around = ("runs", "commands", "provenance", "training", "plots", "export", "memory", "checkpoint")
    assert not any(name.startswith(tuple(f"fgq/{room}/" for room in around)) for name in files)
    assert all(any(name.startswith(f"fgq/{room}/") for name in files) for room in METHOD if (PACKAGE / room).is_dir())
    assert files.items() <= source_files(SHOWN).items()
    assert "fgq/plots/style.py" in source_files(SHOWN)


def test_binary_files_count_by_their_bytes(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    told = subprocess.run(["sha256sum", path], capture_output=True, text=True)
    assert file_hash(path) == told.stdout.split()[0]


def test_cards_and_curves_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr("fgq.provenance.source.PACKAGE", tmp_path / "fgq")
    folder = tmp_path / "fgq" / "weights"
    folder.mkdir(parents=True)
    for name in ("README.md", "curve.csv", "config.json", "model.safetensors", "a.py"):
        (folder / name).write_text("x = 1")
    assert set(source_files([folder])) == {f"fgq/weights/{n}" for n in ("config.json", "model.safetensors", "a.py")}
    assert PACKAGE.name == "fgq"
