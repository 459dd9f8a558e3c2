"""Ways in which a download goes wrong. Each takes a folder and a generator, changes one thing, and says what.

A corruption that does not apply to what it drew returns None, and the caller draws again.
"""

import os
import shutil

import numpy as np
from corrupted_numbers import negative_depth, not_a_number, not_a_rotation
from drawn_files import draw, files, folders, is_image, raw_depths, texts
from PIL import Image
from writers.co3d import read_annotations, write_annotations

NOT_UTF8 = os.fsdecode(b"\xff\xfe-bad")


def truncate(root, generator):
    path = draw(files(root), generator)
    content = path.read_bytes()
    length = int(generator.integers(len(content))) if generator.random() < 0.7 else len(content) - 1
    path.write_bytes(content[:length])
    return f"{path} cut to {length} of {len(content)} bytes"


def wrong_type(root, generator):
    path = draw(files(root), generator)
    kind = draw(["text", "bytes", "empty", "folder", "pipe", "grey", "deep", "json", "not text"], generator)
    size = Image.open(path).size if is_image(path) else (12, 10)
    path.unlink()
    noise = generator.integers(0, 256, size=size[::-1], dtype=np.uint8)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("grey", "deep"):
        if "mask" in str(path) or "visual" in path.name:  # a mask of other content cannot be told
            return None
        Image.fromarray(noise.astype(np.uint16 if kind == "deep" else np.uint8)).save(path, format="PNG")
        if kind == "deep" and ("depth" in path.name or "groundtruth" in str(path) or "depths" in str(path)):
            return None  # a depth map of other content cannot be told
    else:
        content = {"text": b"hello\n", "bytes": noise.tobytes(), "empty": b"", "json": b'{"a": [1, null]}'}
        path.write_bytes(content.get(kind, "übermäßig\n".encode("latin-1")))
    return f"{path} became {kind}"


def missing(root, generator):
    path = draw(files(root), generator)
    path.unlink()
    return f"{path} was deleted"


def missing_line(root, generator):
    path = draw(texts(root), generator)
    if path is None:
        return None
    lines = path.read_text().splitlines(keepends=True)
    gone = int(generator.integers(len(lines)))
    path.write_text("".join(lines[:gone] + lines[gone + 1 :]))
    return f"{path}: line {gone} was deleted"


def duplicated(root, generator):
    """A file copied over its neighbour or to a new name, or a line or an annotation that stands there twice."""
    kind = draw(["copy", "over", "line", "annotation"], generator)
    if kind == "copy":
        path = draw(files(root), generator)
        new = path.with_name(path.stem + draw([" (1)", "_copy", "0"], generator) + path.suffix)
        shutil.copy(path, new)
        return f"{path} copied to {new.name}"
    if kind == "over":
        path = draw([p for p in files(root) if is_image(p) or p in raw_depths(root)], generator)
        if "mask" in str(path) or "visual" in path.name:
            return None
        other = draw([p for p in path.parent.iterdir() if p.is_file() and p.suffixes == path.suffixes], generator)
        if other == path or other.read_bytes() == path.read_bytes():
            return None
        shutil.copy(path, other)
        return f"{path} copied over {other.name}"
    if kind == "line":
        path = draw(texts(root), generator)
        if path is None:
            return None
        lines = path.read_text().splitlines(keepends=True)
        at = int(generator.integers(len(lines)))
        path.write_text("".join(lines[: at + 1] + lines[at:]))
        return f"{path}: line {at} stands there twice"
    path = draw(sorted(root.rglob("*.jgz")), generator)
    if path is None:
        return None
    entries = read_annotations(path)
    write_annotations(path, [*entries, draw(entries, generator)])
    return f"{path}: an annotation stands there twice"


def empty_folder(root, generator):
    path = draw(folders(root), generator)
    for inner in list(path.iterdir()):
        shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
    return f"{path} was emptied"


def name_of_other_bytes(root, generator):
    path = draw(folders(root)[1:] + files(root), generator)
    new = path.with_name(draw([NOT_UTF8, NOT_UTF8 + path.suffix, path.stem + NOT_UTF8 + path.suffix], generator))
    if generator.random() < 0.5:
        path.rename(new)
    elif path.is_dir():
        shutil.copytree(path, new)
    else:
        shutil.copy(path, new)
    return f"{path} got a name that is no UTF-8"


def loop_of_links(root, generator):
    path = draw(folders(root)[1:] + files(root), generator)
    if generator.random() < 0.3:  # a folder that contains itself
        folder = path if path.is_dir() else path.parent
        (folder / "again").symlink_to(root)
        return f"{folder} got a link to {root}"
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(path.name)
    return f"{path} became a link to itself"


def flipped_bit(root, generator):
    """In files that carry a checksum; nothing could tell it in others."""
    path = draw([p for p in files(root) if is_image(p) or p.suffix == ".jgz"], generator)
    content = bytearray(path.read_bytes())
    content[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)
    return f"{path}: a bit flipped"


CORRUPTIONS = (
    truncate,
    wrong_type,
    not_a_number,
    negative_depth,
    not_a_rotation,
    missing,
    missing_line,
    duplicated,
    empty_folder,
    name_of_other_bytes,
    loop_of_links,
    flipped_bit,
)
