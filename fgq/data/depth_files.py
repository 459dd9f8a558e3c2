"""Depth as datasets store it: PNG of 16 bits, PFM, raw floats."""

from pathlib import Path

import numpy as np

from fgq.data.reading import open_stored, read_bytes
from fgq.data.sequence import SequenceError, shown


def read_png16(path: Path) -> np.ndarray:
    """The codes [H, W], uint16, of a grey PNG of 16 bits. Raises SequenceError for other images."""
    codes = np.asarray(open_stored(path, ("I;16", "I;16B", "I;16L", "I"), "grey image of 16 bits"))
    if codes.min() < 0 or codes.max() > 65535:
        raise SequenceError(f"{shown(path)}: is no grey image of 16 bits (it holds {codes.min()} to {codes.max()})")
    return codes.astype(np.uint16)


def read_pfm(path: Path) -> np.ndarray:
    """[H, W] float32 of a grey portable float map; its rows go from the bottom up, a negative scale is little-endian.

    Raises SequenceError for colour maps and for files that are shorter or longer than they say.
    """
    head = read_bytes(path).split(b"\n", 3)
    try:
        kind, size, scale, body = head
        width, height = map(int, size.split())
        order = "<" if float(scale) < 0 else ">"
    except ValueError:
        raise SequenceError(f"{shown(path)}: is no PFM file") from None
    if kind.strip() != b"Pf" or width < 1 or height < 1:
        raise SequenceError(f"{shown(path)}: is no grey PFM file")
    if float(scale) == 0 or not np.isfinite(float(scale)):
        raise SequenceError(f"{shown(path)}: its scale {float(scale)} says nothing of the byte order")
    return to_floats(body, (height, width), order, path)[::-1]


def read_raw_floats(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """[H, W] float32 of a file that holds nothing but little-endian floats, row by row."""
    return to_floats(read_bytes(path), shape, "<", path)


def to_floats(body: bytes, shape: tuple[int, int], order: str, path: Path) -> np.ndarray:
    height, width = shape
    if len(body) != 4 * height * width:
        raise SequenceError(
            f"{shown(path)}: holds {len(body)} bytes of depth, but {width} × {height} pixels take {4 * height * width}"
        )
    return np.frombuffer(body, f"{order}f4").astype(np.float32).reshape(shape)


def check_depth(values: np.ndarray, unknown: np.ndarray, path: Path) -> np.ndarray:
    """Depth with 0 where it is unknown. Raises SequenceError for NaN, infinity or negative depth where it is known."""
    known = values[~unknown]
    if not np.isfinite(known).all():
        raise SequenceError(f"{shown(path)}: the depth holds NaN or infinity")
    if (known < 0).any():
        raise SequenceError(f"{shown(path)}: {int((known < 0).sum())} depths are negative")
    return np.where(unknown, 0, values).astype(np.float32)
