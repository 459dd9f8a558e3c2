import numpy as np
import pytest
from writers import eth3d
from writers.room import build_room

import fgq
from fgq.data.public.colmap import thin_prism_fisheye
from fgq.errors import FgqError

SIZE = (24, 36)


@pytest.fixture(scope="module")
def room():
    return build_room(7, 3, *SIZE, focal=(31.0, 29.0), centre=(17.2, 12.9))


def load(root, **options):
    return fgq.load_scenes("eth3d", root=root, **({"size": SIZE, "every": 1, "scenes": ("courtyard",)} | options))


def test_what_was_written_comes_back(tmp_path, room, same_as_room):
    """Without distortion the depth maps have the images' own pixels."""
    eth3d.write(tmp_path, {"courtyard": room})
    (scene,) = load(tmp_path)
    assert scene.unit == "metre" and scene.name == "courtyard"
    same_as_room(scene, room, quantum=1e-4 * room.fields["depth"])
    assert not scene.valid[:, :2].any() and scene.valid[:, 2:].all()


def test_depth_of_the_distorted_photograph_is_brought_to_the_undistorted_one(tmp_path):
    small = build_room(7, 1, *SIZE, focal=(31.0, 29.0), centre=(17.2, 12.9))
    eth3d.write(tmp_path, {"courtyard": small}, distorted_scale=4, fisheye=eth3d.FISHEYE)
    (scene,) = load(tmp_path)
    off = (scene.depth / small.fields["depth"] - 1).abs()[scene.valid]
    assert scene.valid.float().mean() > 0.9
    assert off.median() < 5e-3 and (off < 0.02).float().mean() > 0.95  # a quarter of a pixel, but for edges
    ignored = (scene.depth[:, :, 1:] / small.fields["depth"][:, :, :-1] - 1).abs()[scene.valid[:, :, 1:]]
    assert ignored.mean() > 2 * off.mean()  # one pixel aside would be told apart


def test_distortion_agrees_with_its_definition():
    generator = np.random.default_rng(0)
    u, v = generator.uniform(-0.9, 0.9, (2, 50))
    x, y = thin_prism_fisheye(u, v, np.array(eth3d.FISHEYE))
    expected = np.array([eth3d.bend(a, b, eth3d.FISHEYE) for a, b in zip(u, v, strict=True)])
    np.testing.assert_allclose(np.stack([x, y], 1), expected, rtol=1e-12, atol=1e-14)
    assert thin_prism_fisheye(np.zeros(1), np.zeros(1), np.zeros(8))[0] == 0


def test_published_choice_is_every_fifth_name(tmp_path):
    eth3d.write(tmp_path, {"courtyard": build_room(1, 7, *SIZE)})
    (scene,) = scenes = fgq.load_scenes("eth3d", root=tmp_path, size=SIZE, scenes=("courtyard",))
    assert scenes.frame_list.sequences == {"courtyard": ("DSC_0286.JPG", "DSC_0291.JPG")}
    assert scene.num_frames == 2


def test_what_is_missing_is_named(tmp_path, room):
    eth3d.write(tmp_path, {"courtyard": room, "office": room, "pipes": room})
    (tmp_path / "office/images/dslr_images_undistorted/DSC_0287.JPG").unlink()
    depth = tmp_path / "pipes/ground_truth_depth/dslr_images/DSC_0286.JPG"
    depth.write_bytes(depth.read_bytes()[:-4])
    with pytest.warns(UserWarning, match="3 of 4 sequences"):
        scenes = load(tmp_path, scenes=("courtyard", "office", "pipes", "relief"))
    reasons = {failure.sequence: failure.reason for failure in scenes.failures}
    assert "DSC_0287.JPG: is listed but missing" in reasons["office"]
    assert f"{depth}: holds 3452 bytes of depth, but 36 × 24 pixels take 3456" == reasons["pipes"]
    assert "relief/dslr_calibration_undistorted/images.txt: no such file" in reasons["relief"]


def test_a_quaternion_that_is_no_rotation_is_refused(tmp_path, room):
    eth3d.write(tmp_path, {"courtyard": room})
    path = tmp_path / "courtyard/dslr_calibration_undistorted/images.txt"
    lines = path.read_text().splitlines()
    words = lines[3].split()
    lines[3] = " ".join([words[0], "2.0", *words[2:]])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FgqError, match="DSC_0288.JPG: its quaternion has length"):
        load(tmp_path)
