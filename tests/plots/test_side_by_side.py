"""The pages inside the document: what they hold, and that they need nothing from outside."""

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from fgq import plots
from fgq.errors import FgqError
from fgq.geometry import invert_extrinsics


class Frames(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.pages = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "iframe":
            self.pages.append(dict(attributes))


def content(page):
    about = json.loads(re.search(r'id="scene">(.*?)</script>', page, re.S).group(1))
    blob = base64.b64decode(re.search(r'id="points">(.*?)</script>', page, re.S).group(1))
    return about, np.frombuffer(blob, np.uint8).reshape(-1, 16)[:, :12].copy().view("<f4")


@pytest.fixture
def shown(rooms, answer):
    return Frames(plots.side_by_side(rooms[0], {"a <model>": answer(rooms[0], scale=0.25)})._repr_html_()).pages


def test_a_right_prediction_of_another_scale_is_brought_onto_the_truth(rooms, shown):
    scene = rooms[0]
    centres = invert_extrinsics(scene.extrinsics)[..., 3].numpy()
    (truth, points), (found, moved) = (content(page["srcdoc"]) for page in shown)
    for about in (truth, found):
        np.testing.assert_allclose([camera["centre"] for camera in about["cameras"]], centres, atol=1e-4)
    by_place = [cloud[np.lexsort(cloud.round(3).T)] for cloud in (points, moved)]
    np.testing.assert_allclose(*by_place, atol=1e-3)
    np.testing.assert_allclose(np.sort(points[:, 2]), np.sort(scene.points[..., 2].flatten().numpy()), rtol=1e-5)


def test_views_begin_alike_and_turn_together(shown):
    (truth, _), (found, _) = (content(page["srcdoc"]) for page in shown)
    assert truth["start"] == found["start"] and truth["up"] == found["up"]
    assert truth["group"] == found["group"] != ""
    assert all("postMessage" in page["srcdoc"] for page in shown)


def test_nothing_is_fetched_and_every_view_says_what_it_is(shown):
    assert [page["title"].split(";")[0] for page in shown] == [
        "Cameras and points, true", "Cameras and points, a <model>",
    ]  # fmt: skip
    for page in shown:
        assert "src" not in page and "http" not in page["srcdoc"]
        assert not re.search(r"\b(?:src|href)=\"|@import|import\(|fetch\(", page["srcdoc"])


def test_a_scene_without_truth_has_no_other_side(rooms, answer):
    with pytest.raises(FgqError, match="needs true cameras"):
        plots.side_by_side(dataclasses.replace(rooms[0], points=None), {})
