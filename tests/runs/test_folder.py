"""Which files belong to which chapter, whatever was killed in between."""

import os

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


def test_fingerprint_sees_both_ends_and_the_size(tmp_path, monkeypatch):
    monkeypatch.setattr("fgq.runs.folder.ENDS", 4)
    folder = RunFolder(tmp_path)
    folder.artefacts.mkdir()
    found = set()
    for content in (b"", b"abcdefghij", b"Xbcdefghij", b"abcdefghiX", b"abcdefgghij"):
        (folder.artefacts / "x").write_bytes(content)
        found.add(folder.fingerprint("x"))
    assert len(found) == 5


def test_a_half_written_record_counts_as_none(tmp_path):
    folder = RunFolder(tmp_path)
    folder.record("a").parent.mkdir()
    folder.record("a").write_text('{"key": ')
    assert folder.why_outdated("a", "key") == "not yet run"
