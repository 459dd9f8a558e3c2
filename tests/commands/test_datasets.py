"""The commands about datasets, and evaluation of a dataset on disk."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fgq.data.sampling import FrameList

CAMERA = "0.8 0.8 0.5 0.5 0 0 1 0 0 {} 0 1 0 0 0 0 1 0"


def write_clip(root, name, number):
    times = range(100, 100 + number)
    (root / "test").mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{time} {CAMERA.format(time / 10)}\n" for time in times)
    (root / "test" / f"{name}.txt").write_text("address\n" + lines)
    folder = root / "frames" / "test" / name
    folder.mkdir(parents=True)
    noise = np.random.default_rng(number)
    for time in times:
        Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{time}.png")


@pytest.fixture
def clips(tmp_path):
    root = tmp_path / "clips"
    for name, number in (("aa", 12), ("bb", 14)):
        write_clip(root, name, number)
    return root


def test_datasets_are_listed_with_what_they_need(command):
    status, out, lines = command("datasets")
    assert status == 0 and not lines
    assert "co3d\n  needs        the unpacked CO3Dv2 categories" in out and "licence      CC BY-NC-SA 4.0" in out
    assert "calibration  the train lists, without sequences that stand in a test list too" in out
    assert "options      frames=N: N random frames, in the order of the sequence; every=N: every Nth frame" in out


def test_a_whole_download_passes(command, clips):
    status, out, lines = command("datasets", "check", "realestate10k", clips)
    assert status == 0
    known = "(1719 in published evaluations)"
    said = f"realestate10k, split test: sequences 2 {known}, frames read 20; nothing is wrong (frame list "
    assert out.startswith(said)
    status, out, _ = command("datasets", "check", "realestate10k", clips, "--only", "bb")
    assert status == 0 and out.startswith("realestate10k, split test: sequences 1, frames read 10; nothing is wrong")


def test_a_broken_download_tells_everything_and_status_2(command, clips):
    (clips / "frames/test/aa/105.png").write_bytes(b"")
    (clips / "test/bb.txt").write_text("address\n")
    status, out, lines = command("datasets", "check", "realestate10k", clips, "--every-frame")
    told = [line for line in lines if line and not line.startswith("\rchecking")]
    assert status == 2 and out == ""
    assert f"bb: {clips}/test/bb.txt: lists no frame" in told
    assert any(line.startswith(f"aa: {clips}/frames/test/aa/105.png: is no readable image") for line in told)
    assert told[-1] == (
        "fgq: realestate10k, split test: sequences 2 (1719 in published evaluations), frames read 11, "
        "2 problems in 2 sequences: mend them, or download again"
    )


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("co3", "."), "fgq: no dataset is called 'co3'; choose one of co3d, "),
        (("dtu", "nowhere"), "fgq: nowhere: no such folder; dtu needs Rectified"),
        (("dtu", ".", "--split", "val"), "fgq: dtu has no split 'val'; choose one of test, all"),
        (("dtu", ".", "--frame-list", "none.json"), "fgq: none.json: this frame list cannot be read"),
    ],
)
def test_nothing_to_look_at_is_one_line(command, arguments, told):
    status, out, lines = command("datasets", "check", *arguments)
    assert status == 2 and out == "" and len(lines) == 1 and lines[0].startswith(told)


def test_an_evaluation_keeps_its_frames_and_takes_them_again(command, toy_model, clips, tmp_path):
    toy_model.save(tmp_path / "toy")
    dataset = ("--dataset", "realestate10k", "--root", clips, "--size", 16)
    first, again = tmp_path / "first.csv", tmp_path / "again.csv"
    (clips / "test/bb.txt").write_text("address\n")
    status, out, lines = command("evaluate", tmp_path / "toy", *dataset, "--frames", 3, "--out", first)
    assert status == 0
    assert f"fgq: not read: bb: {clips}/test/bb.txt: lists no frame" in lines
    frame = pd.read_csv(first, dtype={"frame_list": str})
    assert set(frame.scene) == {"aa", "bb"} and frame[frame.scene == "bb"].value.isna().all()
    listed = tmp_path / "first.frames.incomplete.json"  # it cannot say which frames of bb
    kept = FrameList.load(listed)
    assert frame.frame_list.unique().tolist() == [kept.hash[:16]] and list(kept.sequences) == ["aa"]

    status, _, lines = command("evaluate", tmp_path / "toy", *dataset, "--frame-list", listed, "--out", again)
    assert status == 0 and FrameList.load(tmp_path / "again.frames.json") == kept
    same = frame[frame.scene == "aa"].value.to_numpy()
    np.testing.assert_allclose(pd.read_csv(again).value.to_numpy(), same)
    status, _, lines = command("evaluate", tmp_path / "toy", *dataset, "--frame-list", listed, "--seed", 1)
    assert status == 2 and "a frame list already says which frames" in lines[-1]


def test_a_smaller_set_is_measured_when_asked_for(command, toy_model, clips, tmp_path):
    toy_model.save(tmp_path / "toy")
    (clips / "test/bb.txt").write_text("address\n")
    arguments = ("--dataset", "realestate10k", "--root", clips, "--size", 16, "--frames", 3)
    status, out, lines = command("evaluate", tmp_path / "toy", *arguments, "--out", tmp_path / "all.csv")
    assert status == 0
    failing = pd.read_csv(tmp_path / "all.csv")
    status, out, lines = command(
        "evaluate", tmp_path / "toy", *arguments, "--only-read", "--out", tmp_path / "read.csv"
    )
    assert status == 0 and any(line.startswith("fgq: not read: bb: ") for line in lines)
    assert set(failing.scene) == {"aa", "bb"} and set(pd.read_csv(tmp_path / "read.csv").scene) == {"aa"}
    assert list(FrameList.load(tmp_path / "read.frames.json").sequences) == ["aa"]


def test_without_options_the_published_frames_are_taken(command, toy_model, clips, tmp_path):
    toy_model.save(tmp_path / "toy")
    out = tmp_path / "report.csv"
    arguments = ("--dataset", "realestate10k", "--root", clips, "--size", 16, "--out", out)
    assert command("evaluate", tmp_path / "toy", *arguments)[0] == 0
    kept = FrameList.load(tmp_path / "report.frames.json")
    assert kept.seed == 42 and [len(frames) for frames in kept.sequences.values()] == [10, 10]


def test_a_published_protocol_is_followed_and_stands_beside_the_paper(command, toy_model, clips, tmp_path):
    toy_model.save(tmp_path / "toy")
    out = tmp_path / "report.csv"
    arguments = ("--protocol", "fgq-realestate10k", "--root", clips, "--size", 16, "--out", out)
    status, shown, _ = command("evaluate", tmp_path / "toy", *arguments)
    assert status == 0 and "pose_auc@30" in shown
    assert "The paper's protocol: RealEstate10K: 10 random frames" in shown
    assert "What differs: 2 of 1,719 sequences; images 16 pixels wide, not 504; model " in shown
    assert set(pd.read_csv(out).protocol) == {"fgq-realestate10k"}
    status, _, lines = command("evaluate", tmp_path / "toy", "--protocol", "fgq-re10k", "--root", clips)
    assert status == 2 and "no protocol is called 'fgq-re10k'" in lines[-1]
    status, _, lines = command("evaluate", tmp_path / "toy", "--protocol", "fgq-dtu", "--dataset", "co3d")
    assert status == 2 and "the protocol fgq-dtu is of dtu, not of co3d" in lines[-1]


def test_protocols_are_listed_with_their_source(command):
    status, shown, lines = command("datasets", "protocols")
    assert status == 0 and not lines
    assert "fgq-co3d\n  takes    CO3Dv2: 10 random frames" in shown and "mv_recon/eval.py" in shown
