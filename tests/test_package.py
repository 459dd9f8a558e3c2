"""What `import fgq` gives and costs: in processes of their own, as a user meets it."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    environment = inherited | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_import_costs_nothing_and_everything_is_an_attribute():
    code = (
        "import sys, fgq\n"
        "print('torch' in sys.modules, fgq.__version__)\n"
        "print(fgq.errors.FgqError.__name__, fgq.data.Scene.__name__, fgq.quant.Grid.__name__)\n"
        "print({'plots', 'export', 'memory', 'load_model', '__version__'} <= set(dir(fgq)), hasattr(fgq, 'nothing'))\n"
    )
    done = run_python("-c", code)
    assert done.stdout.splitlines() == [f"False {version('fgq')}", "FgqError Scene Grid", "True False"], done.stderr


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, "3000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),  # who says how threads wait is left alone
    ],
)
def test_threads_do_not_spin_for_long_unless_told(variables, expected):
    code = "import fgq, os, sys; print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'))"
    assert run_python("-c", code, **variables).stdout.split() == ["False", expected]


def test_the_module_is_the_command():
    done = run_python("-m", "fgq", "--version")
    assert (done.returncode, done.stdout.split()) == (0, ["fgq", version("fgq")])
    words = {"_FGQ_COMPLETE": "complete_bash", "COMP_WORDS": "fgq qu", "COMP_CWORD": "1"}
    assert run_python("-m", "fgq", **words).stdout.split() == ["quantize"]
