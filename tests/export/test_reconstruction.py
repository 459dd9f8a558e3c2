"""Points, cameras and confidence against the rendered truth."""

import pytest
import torch

from fgq.data.photos import find_sources, read_photos
from fgq.errors import FgqError
from fgq.export.reconstruction import build_reconstruction


def test_points_of_depth_lie_on_the_surfaces(truth):
    scene = truth.reconstruct()
    torch.testing.assert_close(scene.points, truth.points, atol=1e-5, rtol=0)
    torch.testing.assert_close(scene.extrinsics, truth.extrinsics, atol=1e-6, rtol=0)


def test_points_of_the_head_are_its_own(truth):
    scene = truth.reconstruct("head")
    torch.testing.assert_close(scene.points, truth.points + 0.01)
    assert torch.equal(scene.points_confidence.float(), truth.predictions.world_points_conf[0])


def test_intrinsics_of_the_photos_are_those_they_were_rendered_with(truth):
    torch.testing.assert_close(truth.reconstruct().photo_intrinsics(), truth.photo_intrinsics, atol=1e-4, rtol=1e-6)


def test_a_cloud_is_in_the_order_of_confidence(truth):
    scene = truth.reconstruct()
    cloud = scene.cloud()
    assert len(cloud) == scene.depth.numel()
    assert (cloud.confidence.diff() <= 0).all()
    best = cloud.best(0.25)
    assert len(best) == len(cloud) // 4
    threshold = scene.depth_confidence.flatten().sort(descending=True).values[len(best) - 1]
    assert best.confidence.min() == threshold
    for n in (0, 7, 100):
        column, row = (best.pixel[n] - 0.5).long().tolist()
        frame = int(best.frame[n])
        assert torch.equal(best.points[n], scene.points[frame, row, column])
        assert torch.equal(best.colours[n], (truth.photos.images[frame, :, row, column] * 255).round().byte())


def test_thinning_keeps_ends_and_order(truth):
    cloud = truth.reconstruct().cloud()
    few = cloud.thinned(100)
    assert len(few) == 100 and few.confidence[0] == cloud.confidence[0] and (few.confidence.diff() <= 0).all()
    assert len(cloud.thinned(10**6)) == len(cloud)


def test_padding_gives_no_points(truth):
    photos = read_photos(find_sources([truth.folder]), 32, patch_size=8, mode="pad")
    scene = build_reconstruction(truth.predictions, photos)
    assert scene.valid.flatten(1).sum(1).tolist() == [32 * 24] * 3  # 40 of 60 is 21.3 of 32: 24 in whole patches
    assert len(scene.cloud()) == 3 * 32 * 24
    assert not (scene.cloud().colours == 255).all(1).any()


def test_what_is_not_finite_gives_no_points(truth):
    predictions = truth.predictions.copy()
    spoilt = predictions["depth"].clone()
    spoilt[0, 1, 2, 3] = torch.inf
    scene = build_reconstruction(type(truth.predictions)(**{**predictions, "depth": spoilt}), truth.photos)
    assert (~scene.valid).nonzero().tolist() == [[1, 2, 3]]
    with pytest.raises(FgqError, match="NaN or infinity"):
        build_reconstruction(
            type(truth.predictions)(**{**predictions, "depth": torch.full_like(spoilt, torch.nan)}), truth.photos
        )
