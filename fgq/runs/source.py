"""Fingerprints of code by what it computes: words, comments and layout do not count."""

import ast
import hashlib
import importlib.resources
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(str(importlib.resources.files("fgq")))
# What decides a number: the model and its weights, data, quantization, Fisher, calibration, evaluation.
COMPUTED_IN = "errors.py tensor_files.py geometry data vggt quant affine fisher calibrate evaluation weights"
COMPUTING = tuple(PACKAGE / name for name in COMPUTED_IN.split())
# What decides a page: all of that, and what chapters show. How a run is made is no part of what it shows.
SHOWN = tuple(path for path in sorted(PACKAGE.iterdir()) if path.name not in ("runs", "training", "__pycache__"))
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
