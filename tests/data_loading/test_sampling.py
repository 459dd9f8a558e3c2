import hashlib
import json

import pytest

from fgq.data.frozen import VARIABLE, frozen_hashes, frozen_path
from fgq.data.sampling import FrameList, FrameListError, Rule, choose_sequences
from fgq.errors import FgqError

FRAMES = [f"{number:03d}" for number in range(40)]


@pytest.fixture
def listed():
    return FrameList("co3d", "test", "2 random frames", 42, {"apple/1": ("3", "7"), 'zebra/ü "x"': ("1",)})


def test_rules_choose_what_they_say():
    assert Rule("every", 15).choose(FRAMES, 0, "d", "s") == ("000", "015", "030")
    assert Rule("first", 3).choose(FRAMES, 0, "d", "s") == ("000", "001", "002")
    assert Rule("first", 99).choose(FRAMES, 0, "d", "s") == Rule("all").choose(FRAMES, 0, "d", "s") == tuple(FRAMES)
    assert Rule("even", 4).choose(FRAMES, 0, "d", "s") == ("000", "010", "020", "030")
    assert Rule("even", 3).choose(FRAMES[:5], 0, "d", "s") == ("000", "001", "003")
    with pytest.raises(FgqError, match="s: holds 40 frames, 41 were asked for"):
        Rule("even", 41).choose(FRAMES, 42, "d", "s")
    chosen = Rule("random", 10).choose(FRAMES, 42, "d", "s")
    assert len(set(chosen)) == 10 and list(chosen) == sorted(chosen) and set(chosen) <= set(FRAMES)
    with pytest.raises(FgqError, match="s: holds 40 frames, 41 were asked for"):
        Rule("random", 41).choose(FRAMES, 42, "d", "s")


def test_a_random_choice_is_the_smallest_hashes():
    """Written down again from its definition, so that no library and no machine can change it."""
    digest = {f: hashlib.sha256(f'[42, "d", "s", "{f}"]'.encode()).hexdigest() for f in FRAMES}
    expected = sorted(sorted(FRAMES, key=digest.get)[:4])
    assert list(Rule("random", 4).choose(FRAMES, 42, "d", "s")) == expected
    assert list(Rule("random", 4).choose(list(reversed(FRAMES)), 42, "d", "s")) == expected[::-1]


def test_random_choices_are_even():
    counts = dict.fromkeys(FRAMES, 0)
    for seed in range(400):
        for frame in Rule("random", 10).choose(FRAMES, seed, "d", "s"):
            counts[frame] += 1
    # mean 100, standard deviation sqrt(400 · 1/4 · 3/4) = 8.7
    assert all(60 < count < 140 for count in counts.values())


@pytest.mark.parametrize("kind, amount", [("some", 1), ("every", 0), ("random", True), ("first", 1.5)])
def test_rules_that_make_no_sense_are_refused(kind, amount):
    with pytest.raises(FgqError):
        Rule(kind, amount)


def test_sequences_are_spread_over_their_groups():
    names = [(group, f"{group}/{i}") for group, size in (("a", 1), ("b", 5), ("c", 9)) for i in range(size)]
    for seed in range(10):
        chosen = choose_sequences(names, 7, seed, "d")
        sizes = [sum(name.startswith(group) for name in chosen) for group in "abc"]
        assert sizes == [1, 3, 3]
        assert choose_sequences(names, 3, seed, "d") < chosen
    assert choose_sequences(names, None, 0, "d") == {name for _, name in names}
    with pytest.raises(FgqError, match="d: 16 sequences were asked for, but 15 were found"):
        choose_sequences(names, 16, 0, "d")


def test_a_frame_list_comes_back_from_its_file(listed, tmp_path):
    listed.save(tmp_path / "new" / "list.json")
    assert FrameList.load(tmp_path / "new" / "list.json") == listed
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["list.json"]
    assert listed.num_frames == 3 and listed.only(["apple/1"]).sequences == {"apple/1": ("3", "7")}


def test_the_hash_says_which_frames_and_nothing_else(listed):
    same = FrameList("co3d", "val", "by hand", 0, dict(reversed(listed.sequences.items())))
    assert same.hash == listed.hash
    others = [
        FrameList("dtu", "test", "", 42, listed.sequences),
        FrameList("co3d", "test", "", 42, listed.sequences | {"apple/1": ("7", "3")}),
        FrameList("co3d", "test", "", 42, listed.sequences | {"apple/2": ("1",)}),
        listed.only(["apple/1"]),
    ]
    assert len({listed.hash, *(other.hash for other in others)}) == 5


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda text: text[:80], "this is no frame list"),
        (lambda text: text.replace('"7"', '"8"'), "the hash differs"),
        (lambda text: text.replace('"7"', '"3"'), "names a frame twice"),
        (lambda text: text.replace('["3", "7"]', "[]"), "needs a list of frames"),
        (lambda text: text.replace('["3", "7"]', "[3, 7]"), "needs a list of frames, as text"),
        (lambda text: text.replace('"seed": 42', '"seed": "42"'), "'seed' of this frame list is missing or no int"),
        (lambda text: text.replace("fgq frame list 1", "fgq frame list 9"), "this is no frame list"),
        (lambda text: text.replace('"apple/1": ["3"', '"apple/1": ["3"],\n "apple/1": ["3"'), "stands there twice"),
        (lambda text: "[" * 100_000, "this is no frame list"),
    ],
)
def test_a_damaged_frame_list_is_told_with_its_path(listed, tmp_path, change, told):
    path = tmp_path / "list.json"
    listed.save(path)
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(FrameListError, match=told) as error:
        FrameList.load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_frame_list_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(FrameListError, match="none.json: this frame list cannot be read .No such file"):
        FrameList.load(tmp_path / "none.json")


def test_what_chooses_frames_and_nothing_else_names_a_kept_list(monkeypatch, tmp_path):
    assert frozen_path("co3d", {"split": "test"}) is None
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    path = frozen_path("co3d", {"split": "test", "seed": 1})
    assert path.parent == tmp_path and path.name.startswith("co3d-test-")
    assert path == frozen_path("co3d", {"seed": 1, "split": "test", "root": "elsewhere", "size": 70})
    others = [{"split": "val", "seed": 1}, {"split": "test", "seed": 2}, {"split": "test", "seed": 1, "count": 3}]
    assert len({path, *(frozen_path("co3d", other) for other in others)}) == 4


def test_a_kept_list_that_lacks_a_sequence_is_a_record_only(monkeypatch, tmp_path, listed):
    from fgq.data.frozen import freeze
    from fgq.data.loaded import LoadedScenes
    from fgq.data.sequence import SequenceFailure

    freeze(LoadedScenes([], listed, [SequenceFailure("apple/1", "unreadable")]), tmp_path / "a.json")
    freeze(LoadedScenes([], listed, [SequenceFailure("apple/9", "no frames")]), tmp_path / "b.json")
    assert frozen_hashes(tmp_path) == {"a.json": listed.hash, "b.incomplete.json": listed.hash}
    assert json.loads((tmp_path / "a.json").read_text())["hash"] == listed.hash
    assert frozen_hashes(tmp_path, since=2e10) == {}
