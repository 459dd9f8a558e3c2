"""What is written is there whole or not at all, one writer at a time; what cannot be written is said before."""

import os
import subprocess
import sys

import pytest

from fgq.errors import FgqError
from fgq.writing import check_file, check_new_folder, locked, part_of, whole_file, whole_folder, write_json, write_text


class Stopped(BaseException):
    """Stands for a process that ends here."""


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_the_usual_permissions(tmp_path):
    path = tmp_path / "new" / "file"
    with whole_file(path) as part:
        part.write_text("half")
        os.chmod(part, 0o600)
        assert not path.exists()
    usual = tmp_path / "usual"
    usual.touch()
    assert path.read_text() == "half" and path.stat().st_mode == usual.stat().st_mode
    write_text(path, "ä")
    assert path.read_bytes() == "ä".encode() and names(path.parent) == ["file"]
    write_json(path, {"a": path})
    assert path.read_text() == f'{{\n "a": "{path}"\n}}\n'


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt, ValueError])
def test_after_an_error_everything_is_as_it_was(tmp_path, error):
    write_text(tmp_path / "file", "old")
    with pytest.raises(error), whole_file(tmp_path / "file") as part:
        part.write_text("new")
        raise error
    with pytest.raises(error), whole_folder(tmp_path / "folder") as part:
        (part / "a").write_text("new")
        raise error
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


def test_a_full_disk_is_one_line(tmp_path):
    for writer in (whole_file, whole_folder):
        with pytest.raises(FgqError, match="out: cannot write the thing .No space left.: free some space"):
            with writer(tmp_path / "out", "the thing"):
                raise OSError(28, "No space left")
    assert names(tmp_path) == []


def test_a_folder_appears_whole_and_an_empty_one_will_do(tmp_path):
    for name in ("new/folder", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with whole_folder(tmp_path / name) as part:
            (part / "a").write_text("a")
            assert not (tmp_path / name / "a").exists()
        assert names(tmp_path / name) == ["a"]
        with pytest.raises(FgqError, match="is not empty; choose a new folder"), whole_folder(tmp_path / name):
            pass
    assert names(tmp_path) == ["empty", "new"]


@pytest.mark.parametrize("path", ["", ".", "..", "/", "a/..", "~nosuchuser/a", "n" * 300, "file/below", "full", "link"])
def test_what_cannot_be_a_new_folder_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    write_text(tmp_path / "full" / "a", "")
    write_text(tmp_path / "file", "")
    (tmp_path / "link").symlink_to("nowhere")
    before = names(tmp_path)
    with pytest.raises(FgqError) as caught:
        check_new_folder(path)
    assert "\n" not in str(caught.value) and names(tmp_path) == before
    if path not in ("link", "full"):
        with pytest.raises(FgqError):
            check_file(path)
    with pytest.raises(FgqError, match="is a folder: give the path of a file"):
        check_file("full")


def test_a_long_name_still_has_a_part(tmp_path):
    write_text(tmp_path / ("n" * 250), "x")
    assert len(part_of(tmp_path / ("n" * 250)).name) < 255


HOLD = "import sys, time; from fgq.writing import locked\nwith locked(sys.argv[1]): print('held', flush=True); input()"


def test_one_at_a_time_and_free_when_the_holder_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=-1, stdin=-1, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        (tmp_path / ".left.part").touch()
        with pytest.raises(FgqError, match="a run works in this folder: wait for it"), locked(tmp_path, "a run"):
            pass
        assert (tmp_path / ".left.part").exists()  # of the one that works there
        holder.kill()
        holder.wait()
    with locked(tmp_path) as folder:
        assert not (folder / ".left.part").exists()
        with pytest.raises(FgqError, match="another process works"), locked(tmp_path):
            pass
