import inspect
import pickle

import pytest
from writers import co3d, realestate10k
from writers.room import build_room

import fgq
from fgq.data import about, find_dataset
from fgq.data.protocols import PROTOCOLS, find_protocol
from fgq.data.sampling import FrameList
from fgq.errors import FgqError
from fgq.metrics.table import METRICS

ALL = pytest.mark.parametrize("name", PROTOCOLS)


@ALL
def test_a_protocol_takes_the_published_frames_of_its_dataset(name):
    protocol = find_protocol(name)
    dataset = about(protocol.dataset)
    assert protocol.rule == dataset.rules[protocol.split]
    assert protocol.sequences == dataset.published.get(protocol.split)
    assert set(dict(protocol.options)) <= set(inspect.signature(find_dataset(protocol.dataset)).parameters)
    assert set(protocol.metrics) <= set(METRICS) and protocol.size % 14 == 0
    assert (protocol.seed is None) == (protocol.rule.kind != "random")
    assert protocol.name == name and "2605.15828" in protocol.source


def test_an_unknown_protocol_suggests_a_known_one():
    with pytest.raises(FgqError, match="no protocol is called 'fgq-co3'; did you mean fgq-co3d?"):
        find_protocol("fgq-co3")
    with pytest.raises(FgqError, match="choose one of fgq-co3d, fgq-realestate10k, "):
        fgq.load_scenes(protocol="?")


def frame_list(**changes):
    protocol = find_protocol("fgq-co3d")
    usual = {"dataset": "co3d", "split": "test", "rule": str(protocol.rule), "seed": 42, "sequences": {"a/b": ("1",)}}
    return FrameList(**(usual | changes))


def test_as_published_there_are_no_departures():
    assert find_protocol("fgq-co3d").departures(frame_list(), 2506, 504, {}) == ()
    assert find_protocol("fgq-7scenes").departures(
        frame_list(rule="every 200th frame from the first on", seed=7), 18, 518, {"depth": "projected"}
    ) == ()  # fmt: skip


def test_every_departure_is_told():
    changed = frame_list(split="val", rule="4 random frames, in the order of the sequence", seed=1)
    found = find_protocol("fgq-co3d").departures(changed, 1200, 56, {"categories": ("apple", "bench")})
    assert found == (
        "split val, not test",
        "1,200 of 2,506 sequences",
        "4 random frames, in the order of the sequence, not 10 random frames, in the order of the sequence",
        "frames of seed 1, not 42",
        "images 56 pixels wide, not 504",
        "categories apple bench",
    )
    seven = find_protocol("fgq-7scenes").departures(frame_list(rule="all frames"), 18, 518, {"depth": "sensor"})
    assert seven == ("all frames, not every 200th frame from the first on", "depth sensor, not projected")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("co3d")
    rooms = [build_room(index, 12, 42, 56) for index in range(3)]
    co3d.write(root, {"apple": {"1_1_1": rooms[0], "2_2_2": rooms[1]}, "bench": {"3_3_3": rooms[2]}})
    return root


def test_scenes_of_a_protocol_are_those_of_its_dataset_by_its_choice(root):
    scenes = fgq.load_scenes(protocol="fgq-co3d", root=root, size=56)
    plain = fgq.load_scenes("co3d", split="test", seed=42, root=root, size=56)
    assert scenes.frame_list == plain.frame_list and [scene.num_frames for scene in scenes] == [10] * 3
    assert scenes.protocol is find_protocol("fgq-co3d") and plain.protocol is None and plain.departures == ()
    assert scenes.departures == ("3 of 2,506 sequences", "images 56 pixels wide, not 504")
    assert scenes[:1].departures == ("1 of 2,506 sequences", "images 56 pixels wide, not 504")
    assert pickle.loads(pickle.dumps(scenes)).departures == scenes.departures
    assert fgq.load_scenes("co3d", protocol="fgq-co3d", root=root, size=56, frames=2)[0].num_frames == 2


def test_a_frame_list_of_the_protocol_follows_it_again(root):
    first = fgq.load_scenes(protocol="fgq-co3d", root=root, size=56)
    again = fgq.load_scenes(protocol="fgq-co3d", root=root, size=56, frame_list=first.frame_list)
    assert again.departures == first.departures and again.frame_list == first.frame_list
    other = fgq.load_scenes("co3d", root=root, size=56, seed=3)
    later = fgq.load_scenes(protocol="fgq-co3d", root=root, size=56, frame_list=other.frame_list)
    assert "frames of seed 3, not 42" in later.departures


def test_frames_that_a_run_has_frozen_follow_it_too(root, tmp_path, monkeypatch):
    monkeypatch.setenv("FGQ_FRAME_LISTS", str(tmp_path))
    first, again = (fgq.load_scenes(protocol="fgq-co3d", root=root, size=56) for _ in range(2))
    assert len(list(tmp_path.iterdir())) == 1
    assert again.protocol is first.protocol and again.departures == first.departures


def test_a_sequence_that_cannot_be_read_is_one_that_was_asked_for(tmp_path):
    rooms = {name: build_room(index, 12, 28, 42) for index, name in enumerate(("aa", "bb"))}
    realestate10k.write(tmp_path, rooms)
    next((tmp_path / "frames" / "test" / "bb").iterdir()).unlink()
    with pytest.warns(UserWarning, match="1 of 2 sequences cannot be read"):
        scenes = fgq.load_scenes(protocol="fgq-realestate10k", root=tmp_path, size=42)
    assert scenes.departures[0] == "2 of 1,719 sequences" and len(scenes) == 1


def test_a_protocol_is_of_one_dataset(root):
    with pytest.raises(FgqError, match="the protocol fgq-co3d is of co3d, not of dtu: leave one of them away"):
        fgq.load_scenes("dtu", protocol="fgq-co3d", root=root)
    with pytest.raises(FgqError, match="no dataset and no protocol: name a dataset"):
        fgq.load_scenes(root=root)
    with pytest.raises(FgqError, match="co3d has no option depth"):
        fgq.load_scenes(protocol="fgq-co3d", root=root, depth="sensor")
