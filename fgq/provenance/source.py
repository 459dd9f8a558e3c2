"""Fingerprints of code by what it computes: words, comments and layout do not count."""

import ast
import hashlib
import importlib.resources
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(str(importlib.resources.files("fgq")))
# How a run is made is no part of what it shows; the rest of the package decides a page.
MAKING = {"__pycache__", "commands", "provenance", "runs", "sweeps", "training"}
SHOWN = tuple(path for path in sorted(PACKAGE.iterdir()) if path.name not in MAKING)
# Of this, what only costs, draws, reads and writes decides no number; a new room counts until it is named here.
AROUND = {"__init__.py", "__main__.py", "checkpoint", "export", "memory", "plots"}
AROUND |= {"processes.py", "shards.py", "writing.py"}
COMPUTING = tuple(path for path in SHOWN if path.name not in AROUND)
COUNTED = {".py", ".safetensors"}  # beside config.json; model cards and curves may be edited


def source_files(paths: Iterable[Path] = COMPUTING) -> dict[str, str]:
    """Fingerprint of every counted file in files and folders, by its path from the package's parent."""
    found = {}
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in COUNTED or file.name == "config.json":
                found[file.relative_to(PACKAGE.parent).as_posix()] = file_hash(file)
    return found


def source_hash(paths: Iterable[Path] = COMPUTING) -> str:
    return text_hash(str(sorted(source_files(paths).items())))


def file_hash(file: Path) -> str:
    state = file.stat()
    return hash_in_state(file, state.st_mtime_ns, state.st_size)


@cache
def hash_in_state(file: Path, *_: int) -> str:
    if file.suffix == ".py":
        return text_hash(syntax(file.read_text(encoding="utf-8")))
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def syntax(source: str) -> str:
    """A program's syntax tree as text, without docstrings, comments and layout; the same for all Python versions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        named = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if named and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return outline(tree)


def outline(node: object) -> str:
    # Unlike ast.dump, leaves out empty fields: versions of Python differ in which fields a node has.
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return f"{type(node).__name__}({','.join(f'{name}={outline(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(outline, node))}]"
    return repr(node)
