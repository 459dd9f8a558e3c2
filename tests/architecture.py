"""The house as its imports draw it: which room takes from which, counted from the syntax, lazy imports included.

python -m tests.architecture        writes book/figures/architecture.svg anew
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fgq"
# What computes the method, and what is built around it. Files directly in fgq/ belong to the ground that all stand on.
METHOD = ("geometry", "vggt", "quant", "affine", "fisher", "calibrate", "metrics")
WORKSHOP = (
    "data",
    "checkpoint",
    "evaluation",
    "export",
    "memory",
    "training",
    "plots",
    "provenance",
    "runs",
    "commands",
)


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, frozenset[str]]:
    """By module, the modules of the package that it imports anywhere in its text."""
    return {name: frozenset(imported(name, path)) - {name} for name, path in modules().items()}


def imported(name: str, path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module in modules():
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (each if each in modules() else node.module for each in inner)


def circles() -> list[list[str]]:
    """Groups of modules that import one another, by Tarjan's algorithm; a package's __init__ counts as a module."""
    import networkx

    graph = networkx.DiGraph([(name, other) for name, others in imports().items() for other in others])
    return [sorted(group) for group in networkx.strongly_connected_components(graph) if len(group) > 1]


def room(name: str) -> str:
    """The room of a module; "" for the ground floor."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in METHOD + WORKSHOP else ""


def lines(name: str) -> int:
    return len(modules()[name].read_text(encoding="utf-8").splitlines())


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function and method with the name of its module."""
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node
