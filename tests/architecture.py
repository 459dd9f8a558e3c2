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
MATERIAL = ("data", "checkpoint")
WORKSHOP = ("evaluation", "export", "memory", "training", "plots", "provenance", "runs", "sweeps", "commands")


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
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def lines(name: str) -> int:
    return len(modules()[name].read_text(encoding="utf-8").splitlines())


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function and method with the name of its module."""
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def room_imports() -> dict[str, set[str]]:
    """By room, the rooms that its modules import; what every room may take from the ground is left out."""
    found: dict[str, set[str]] = {room(name): set() for name in modules() if room(name)}
    for name, others in imports().items():
        if room(name):
            found[room(name)] |= {room(other) for other in others} - {room(name), ""}
    return found


def floors(rooms: dict[str, set[str]]) -> dict[str, int]:
    """Each room one floor above the highest that it imports."""
    found: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((floor(other) for other in rooms[name]), default=-1)
        return found[name]

    for name in rooms:
        floor(name)
    return found


def reduced(rooms: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Arrows without those that a longer way implies."""

    def reach(name: str) -> set[str]:
        return rooms[name].union(*(reach(other) for other in rooms[name]))

    return sorted((a, b) for a, others in rooms.items() for b in others if not any(b in reach(c) for c in others - {b}))


WIDTH, HEIGHT, GAP = 118, 40, 34  # of a room in the drawing, in pixels
COLOURS = {"method": "#4477aa", "material": "#228833", "workshop": "#997700"}


def kind(name: str) -> str:
    return "method" if name in METHOD else "material" if name in MATERIAL else "workshop"


def drawing() -> str:
    """The house as SVG: a row a floor, an arrow from a room to one that it imports."""
    rooms = room_imports()
    level = floors(rooms)
    rows = [sorted(name for name in rooms if level[name] == row) for row in range(max(level.values()) + 1)]
    wide = max(map(len, rows)) * (WIDTH + GAP) + GAP
    high = len(rows) * (HEIGHT + GAP) + GAP
    place = {}
    for row, names in enumerate(rows):
        start = (wide - len(names) * (WIDTH + GAP) + GAP) / 2
        for column, name in enumerate(names):
            place[name] = (start + column * (WIDTH + GAP), high - (row + 1) * (HEIGHT + GAP))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#777"/></marker></defs>',
    ]
    for a, b in reduced(rooms):
        (x1, y1), (x2, y2) = place[a], place[b]
        parts.append(
            f'<path d="M{x1 + WIDTH / 2:g} {y1 + HEIGHT:g} L{x2 + WIDTH / 2:g} {y2 - 2:g}" stroke="#777" fill="none" '
            'marker-end="url(#tip)"/>'
        )
    for name, (x, y) in sorted(place.items()):
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{COLOURS[kind(name)]}"/>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 5:g}" fill="white" text-anchor="middle">{name}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    (ROOT / "book" / "figures" / "architecture.svg").write_text(drawing(), encoding="utf-8")
