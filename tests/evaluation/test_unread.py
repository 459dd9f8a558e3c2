import numpy as np
import pytest
import torch

import fgq
from fgq.data import LoadedScenes, playroom
from fgq.data.sequence import SequenceFailure
from fgq.errors import FgqError
from fgq.evaluation import Report, combine
from fgq.evaluation.evaluate import HASH_DIGITS
from fgq.vggt import VGGT, VGGTConfig


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = VGGTConfig(
        img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, encoder_depth=1, num_register_tokens=1,
        camera_trunk_depth=1, dpt_features=8, dpt_out_channels=(8, 8, 8, 8), dpt_layers=(0, 0, 1, 1),
    )  # fmt: skip
    return VGGT(config).eval()


def with_failure(scenes):
    return LoadedScenes(scenes, scenes.frame_list, [SequenceFailure("lost", "photos/lost/3.png: no such file")])


def test_a_sequence_that_failed_to_load_stays_in_the_denominator(model, tmp_path):
    scenes = playroom.load(count=2, frames=3, size=16)
    report = fgq.evaluate(model, with_failure(scenes), progress=False)
    whole = fgq.evaluate(model, scenes, progress=False)
    lost = report.frame[report.frame.scene == "lost"]
    assert lost.metric.tolist() == list(whole.frame.metric.unique())
    assert lost.value.isna().all() and lost.note.eq("photos/lost/3.png: no such file").all()
    assert lost.valid_pixels.eq(0).all()
    unit = whole.frame.drop_duplicates("metric").set_index("metric").unit
    assert lost.set_index("metric").unit.equals(unit)
    summary = report.summary()
    assert summary.failed.eq(1).all() and summary.scenes.eq(3).all() and summary["mean"].isna().all()
    assert whole.summary().failed.eq(0).all()
    report.save(tmp_path / "report.csv")
    assert Report.load(tmp_path / "report.csv").summary().failed.eq(1).all()


def test_every_row_carries_the_hash_of_its_frames(model, tmp_path):
    scenes = playroom.load(count=3, frames=3, size=16)
    report = fgq.evaluate(model, scenes, progress=False)
    assert report.frame.frame_list.unique().tolist() == [scenes.frame_list.hash[:HASH_DIGITS]]
    part = fgq.evaluate(model, scenes[:2], progress=False)
    fewer = playroom.load(count=2, frames=3, size=16).frame_list.hash
    assert part.frame.frame_list.unique().tolist() == [fewer[:HASH_DIGITS]] != [scenes.frame_list.hash[:HASH_DIGITS]]
    by_hand = fgq.evaluate(model, list(scenes), progress=False)
    assert by_hand.frame.frame_list.unique().tolist() == [""]
    report.save(tmp_path / "report.csv")
    assert Report.load(tmp_path / "report.csv").frame.frame_list.equals(report.frame.frame_list)
    difference = report.compare(by_hand).difference  # frames that nobody named cannot be told apart
    assert np.allclose(difference.dropna(), 0)


def test_other_frames_of_the_same_scenes_are_refused(model):
    """Without depth no count of pixels would show it."""
    scenes = playroom.load(count=2, frames=3, size=16)
    named = {name: ("0", "1", "7") for name in scenes.frame_list.sequences}
    others = LoadedScenes(scenes, type(scenes.frame_list)("playroom", "test", "made", 0, named))
    first, second = (fgq.evaluate(model, given, progress=False) for given in (scenes, others))
    with pytest.raises(FgqError, match="different frames of playroom-test-0-00000"):
        first.compare(second)
    assert len(first.compare(first))


def test_an_evaluation_in_parts_pairs_with_one_of_all(model):
    scenes = playroom.load(count=5, frames=3, size=16)
    names = [list(part.sequences) for part in scenes.frame_list.parts(2)]
    assert list(map(len, names)) == [2, 2, 1] and sum(names, []) == [scene.name for scene in scenes]
    parts = combine(fgq.evaluate(model, scenes[i : i + 2], progress=False) for i in (0, 2, 4))
    whole = fgq.evaluate(model, scenes, progress=False)
    assert parts.frame.frames.equals(whole.frame.frames) and parts.frame.frames.nunique() == 5
    assert len(parts.frame.frame_list.unique()) == 3
    assert parts.compare(whole).difference.abs().max() < 1e-3
