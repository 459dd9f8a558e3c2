"""Whatever a user hands in, damaged in any way: one line that says what is wrong, or exactly what was saved.

Run files have a test of their own (tests/runs/test_runfile.py), downloads of datasets too (tests/data_loading).
"""

import json
import signal
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import fgq
from fgq.data.photos import find_sources, read_photos
from fgq.data.sampling import FrameList
from fgq.errors import FgqError
from fgq.evaluation import Report
from fgq.fisher import FisherTable
from fgq.vggt.weights import fingerprint

SECONDS = 20  # a trial that takes longer hangs
EACH = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DAMAGE = st.one_of(  # of bytes: what it does, and where as a share of the file
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("zero"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("insert"), st.floats(0, 1), st.integers(1, 9)),
    st.tuples(st.just("head"), st.just(0.0), st.integers(0, 63)),  # a bit of the first bytes, which give lengths
)


def damaged(content: bytes, damage: tuple[str, float, int]) -> bytes:
    kind, share, amount = damage
    place = min(int(share * len(content)), len(content) - 1)
    if kind == "cut":
        return content[:place]
    if kind == "zero":
        return content[:place] + bytes(amount) + content[place + amount :]
    if kind == "insert":
        return content[:place] + b"\xff" * amount + content[place:]
    changed = bytearray(content)
    position, bit = (amount // 8, amount % 8) if kind == "head" else (place, amount)
    changed[position] ^= 1 << bit
    return bytes(changed)


@contextmanager
def in_time():
    def late(*_):
        raise TimeoutError(f"a file held the loader for more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def loaded_or_told(load, same) -> None:
    """Loads what was handed in: FgqError of one line, or something that `same` accepts."""
    try:
        with in_time():
            found = load()
    except FgqError as error:
        assert "\n" not in str(error) and str(error).strip()
    else:
        assert same(found), "a damaged file was read as something else, in silence"


@pytest.fixture
def saved(build_toy, tmp_path):
    """A quantized toy on disk, its files' bytes, and what it is."""
    small = fgq.quantize(build_toy(), recipe="rtn", progress=False)
    small.save(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir() if path.is_file()}
    return tmp_path / "model", files, fingerprint(small)


def restore(folder, files) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_damaged_bytes_of_a_saved_model(saved):
    folder, files, truth = saved

    @EACH
    @given(st.sampled_from(sorted(files)), DAMAGE)
    def check(name, damage):
        restore(folder, files)
        (folder / name).write_bytes(damaged(files[name], damage))
        loaded_or_told(lambda: fgq.load_model(folder), lambda model: fingerprint(model) == truth)

    check()


def test_descriptions_of_other_content(saved):
    folder, files, truth = saved
    described = [name for name in files if name.endswith(".json")]
    fields = sorted({key for name in described for key in json.loads(files[name])})

    @EACH
    @given(st.sampled_from(described), st.sampled_from(fields), PLAIN)
    def check(name, field, value):
        restore(folder, files)
        content = json.loads(files[name])
        (folder / name).write_text(json.dumps(content | {field: value}))
        loaded_or_told(lambda: fgq.load_model(folder), lambda model: fingerprint(model) == truth)

    check()


def test_damaged_fisher_tables(tmp_path):
    values = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "fisher.safetensors"
    FisherTable(values, ("camera", "depth", "points"), ("F0", "G0"), "hutchinson").save(path)
    content = path.read_bytes()

    @EACH
    @given(DAMAGE)
    def check(damage):
        path.write_bytes(damaged(content, damage))
        loaded_or_told(lambda: FisherTable.load(path), lambda table: torch.equal(table.values, values))

    check()


def test_damaged_reports(tmp_path):
    frame = pd.DataFrame(
        {
            **dict(dataset="d", recipe="rtn", weight_bits=4, activation_bits=4, seed=0, scene=["a", "b"]),
            **dict(metric="depth_abs_rel", value=[0.1, 0.2], unit="ratio", higher_is_better=False, seconds=1.0),
            **dict(run="", note="", task="depth", valid_pixels=100),
        }
    )
    path = tmp_path / "report.csv"
    Report(frame).save(path)
    content = path.read_bytes()

    @EACH
    @given(DAMAGE)
    def check(damage):
        path.write_bytes(damaged(content, damage))
        loaded_or_told(lambda: Report.load(path).summary(), lambda table: len(table) > 0)

    check()


def test_damaged_frame_lists(tmp_path):
    path = tmp_path / "frames.json"
    frames = FrameList("co3d", "test", "10 random frames", 42, {"apple/1": ("1", "2")})
    frames.save(path)
    content = path.read_bytes()

    @EACH
    @given(DAMAGE)
    def check(damage):
        path.write_bytes(damaged(content, damage))
        loaded_or_told(lambda: FrameList.load(path), lambda found: found.sequences == frames.sequences)

    check()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp", "gif"])
def test_damaged_pictures(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()

    def images():
        return read_photos(find_sources([tmp_path]), 28, 14).images

    @settings(EACH, max_examples=30)
    @given(DAMAGE)
    def check(damage):
        path.write_bytes(damaged(content, damage))
        loaded_or_told(images, lambda found: bool(torch.isfinite(found).all()) and found.shape[:2] == (1, 3))

    check()


def test_damaged_blocks_of_a_calibration_that_was_stopped(build_toy, tmp_path):
    from fgq.data.scene import Scene

    model, generator = build_toy(), torch.Generator().manual_seed(0)
    scenes = [Scene(str(i), torch.rand(2, 3, 16, 16, generator=generator)) for i in range(2)]
    options = dict(recipe="smoothquant", progress=False, resume_dir=tmp_path)
    truth = fingerprint(fgq.quantize(model, scenes, **options))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".safetensors", ".json")}
    assert "plan.json" in files and len(files) == 1 + model.config.num_blocks

    @settings(EACH, max_examples=30)
    @given(st.sampled_from(sorted(files)), DAMAGE)
    def check(name, damage):
        restore(tmp_path, files)
        (tmp_path / name).write_bytes(damaged(files[name], damage))
        loaded_or_told(lambda: fgq.quantize(model, scenes, **options), lambda small: fingerprint(small) == truth)

    check()
