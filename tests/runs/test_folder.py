"""Which files belong to which chapter, whatever was killed in between."""

import os

import pytest

from fgq.runs.folder import RunFolder
from fgq.writing import write_json


def written(folder, *names):
    for name in names:
        path = folder.artefacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def left(folder):
    return sorted(folder.snapshot())


def test_leftovers_of_a_killed_attempt_go_but_a_chapters_own_store_stays(tmp_path):
    folder = RunFolder(tmp_path)
    written(folder, "mine-before.txt")
    folder.begin("calibration")
    written(folder, "model-0", "model-1", "calibration/cache-a")  # then it was killed
    before = folder.begin("calibration")
    written(folder, "model-0")
    os.utime(folder.artefacts / "model-0", ns=(1, 1))  # a coarse clock must not hide the change
    found = folder.finish("calibration", before)
    assert set(found) == {"model-0"}
    assert left(folder) == ["calibration/cache-a", "mine-before.txt", "model-0"]


def test_files_of_other_chapters_stay(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin("a")  # killed
    written(folder, "b.txt")
    write_json(folder.record("b"), {"artefacts": {"b.txt": folder.fingerprint("b.txt")}})
    before = folder.begin("a")
    written(folder, "a.txt")
    folder.finish("a", before)
    assert left(folder) == ["a.txt", "b.txt"]


def test_what_the_run_provides_is_no_leftover_of_any_attempt(tmp_path):
    folder = RunFolder(tmp_path)
    written(folder, "results/given.csv")
    folder.begin("a")  # killed
    written(folder, "mine.txt")
    os.utime(folder.artefacts / "results" / "given.csv", ns=(1, 1))  # provided again
    folder.finish("a", folder.begin("a"), {"results/given.csv"})
    assert left(folder) == ["results/given.csv"]


def test_fingerprint_sees_both_ends_and_the_size(tmp_path, monkeypatch):
    monkeypatch.setattr("fgq.runs.folder.ENDS", 4)
    folder = RunFolder(tmp_path)
    folder.artefacts.mkdir()
    found = set()
    for content in (b"", b"abcdefghij", b"Xbcdefghij", b"abcdefghiX", b"abcdefgghij"):
        (folder.artefacts / "x").write_bytes(content)
        found.add(folder.fingerprint("x"))
    assert len(found) == 5


def test_what_killed_writers_left_goes_with_the_next_lock(tmp_path):
    folder = RunFolder(tmp_path)
    written(folder, ".table.csv.12-34.part", "deep/.x.12-34.part", "table.csv")
    (folder.kernel / "kernels").mkdir(parents=True)
    with folder.locked():
        assert left(folder) == ["table.csv"] and not folder.kernel.exists()


@pytest.mark.parametrize("content", ['{"key": ', "[" * 100_000, "[1]", '{"key": "key", "artefacts": 3}'])
def test_a_broken_record_counts_as_none(tmp_path, content):
    folder = RunFolder(tmp_path)
    for path in (folder.record("a"), folder.notebook("a")):
        path.parent.mkdir()
        path.write_text(content)
    assert folder.why_outdated("a", "key") in ("not yet run", "its record is broken")
