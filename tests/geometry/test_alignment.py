import pytest
import torch
from scipy.spatial.transform import Rotation

from fgq.errors import FgqError
from fgq.geometry.alignment import align_similarity


def test_golden_alignment(golden_metrics):
    data, expected = golden_metrics
    for name in ("points0", "points1"):
        found = align_similarity(data[f"{name}.pred"], data[f"{name}.gt"])
        assert found.scale.item() == pytest.approx(expected[name]["umeyama_scale"], rel=1e-9)
        assert torch.allclose(found.rotation, data[f"{name}.umeyama_R"], atol=1e-9)
        assert torch.allclose(found.translation, data[f"{name}.umeyama_t"][:, 0], atol=1e-9)


def test_a_known_similarity_is_found_again():
    points = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotation = torch.from_numpy(Rotation.random(rng=0).as_matrix())
    moved = 0.37 * points @ rotation.T + torch.tensor([1.0, -2, 3], dtype=torch.float64)
    found = align_similarity(points, moved)
    assert found.scale.item() == pytest.approx(0.37)
    assert torch.allclose(found.rotation, rotation, atol=1e-12)
    assert torch.allclose(found.apply(points), moved, atol=1e-12)


def test_a_mirrored_cloud_is_not_mirrored_back():
    points = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = align_similarity(points, points * torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    assert torch.linalg.det(found.rotation).item() == pytest.approx(1)


def test_what_cannot_be_aligned_is_said():
    with pytest.raises(FgqError, match="at least 3"):
        align_similarity(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(FgqError, match="one place"):
        align_similarity(torch.ones(5, 3), torch.rand(5, 3))
