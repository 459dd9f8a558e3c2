"""Corruptions of numbers: not finite, negative depth, cameras that are no rotations; see `corruptions`."""

from pathlib import Path

import numpy as np
from drawn_files import draw, raw_depths, texts
from PIL import Image
from writers.co3d import read_annotations, write_annotations


def not_a_number(root, generator):
    word = draw(["nan", "inf", "-inf", "1e999", "NaN"], generator)
    path = draw(texts(root) + raw_depths(root) + list(root.rglob("*.jgz")), generator)
    if path is None:
        return None
    if path.suffix == ".jgz":
        return change_annotation(path, generator, lambda values: values.__setitem__(0, float("nan")))
    if path.suffix != ".txt":
        return change_float(path, generator, np.nan)
    lines = path.read_text().split("\n")
    places = [(i, j) for i, line in enumerate(lines) for j, w in enumerate(line.split()) if number(w)]
    if not places:
        return None
    i, j = draw(places, generator)
    words = lines[i].split()
    words[j] = word
    lines[i] = " ".join(words)
    path.write_text("\n".join(lines))
    return f"{path}: word {j} of line {i} became {word}"


def number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def change_float(path: Path, generator, value: float):
    content = bytearray(path.read_bytes())
    head = content.index(b"\n-1.000000\n") + 11 if path.suffix == ".pfm" else 0
    pixel = int(generator.integers((len(content) - head) // 4))
    content[head + 4 * pixel : head + 4 * pixel + 4] = np.float32(value).tobytes()
    path.write_bytes(content)
    return f"{path}: pixel {pixel} became {value}"


def change_annotation(path: Path, generator, change):
    entries = read_annotations(path)
    entry = draw(entries, generator)
    key = draw(["R", "T", "focal_length", "principal_point"], generator)
    values = entry["viewpoint"][key]
    change(values[0] if key == "R" else values)
    write_annotations(path, entries)
    return f"{path}: {key} of {entry['sequence_name']}, {entry['frame_number']}"


def negative_depth(root, generator):
    halves = sorted(root.rglob("*.geometric.png"))
    path = draw(raw_depths(root) + halves, generator)
    if path is None:
        return None
    if path in halves:
        codes = np.array(Image.open(path)).astype(np.uint16)
        at = tuple(int(generator.integers(side)) for side in codes.shape)
        codes[at] |= 0x8000  # the sign of a float16
        Image.fromarray(codes).save(path, format="PNG")
        return f"{path}: pixel {at} became negative"
    return change_float(path, generator, -float(generator.uniform(0.01, 5000)))


def not_a_rotation(root, generator):
    """One entry of a camera's rotation moves by 0.02 to 2, in whatever form the dataset keeps it."""
    step = float(generator.uniform(0.02, 2)) * draw([-1, 1], generator)
    path = draw(texts(root) + list(root.rglob("*.jgz")), generator)
    if path is None:
        return None
    if path.suffix == ".jgz":
        entries = read_annotations(path)
        entry = draw(entries, generator)
        row = draw(entry["viewpoint"]["R"], generator)
        row[int(generator.integers(3))] += step
        write_annotations(path, entries)
        return f"{path}: rotation of {entry['sequence_name']}, {entry['frame_number']}"
    lines = path.read_text().split("\n")
    if path.name.endswith(".pose.txt"):
        i, j = int(generator.integers(3)), int(generator.integers(3))
    elif path.parent.name == "Cameras":
        i, j = 1 + int(generator.integers(3)), int(generator.integers(3))
    elif path.name == "images.txt":
        i, j = 3 + 2 * int(generator.integers((len(lines) - 4) // 2)), 1 + int(generator.integers(4))
    elif path.parent.name == "test":
        i = 1 + int(generator.integers(len(lines) - 2))
        j = 7 + draw([0, 1, 2, 4, 5, 6, 8, 9, 10], generator)
    else:
        return None
    words = lines[i].split()
    words[j] = f"{float(words[j]) + step:.9f}"
    lines[i] = " ".join(words)
    path.write_text("\n".join(lines))
    return f"{path}: word {j} of line {i} moved by {step}"
