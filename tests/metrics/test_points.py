import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from fgq.data import playroom
from fgq.errors import FgqError
from fgq.geometry.alignment import align_similarity
from fgq.metrics.points import (
    FAST_CLOUDS,
    FULL_CLOUDS,
    NORMAL_NEIGHBOURS,
    CloudProtocol,
    SearchedCloud,
    cloud_errors,
    normal_agreement,
    refine_by_icp,
    relative_distance,
    scaled_point_error,
    surface_normals,
)

TURN = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()


@pytest.fixture(scope="module")
def truth():
    scene = playroom.load("test", count=1, frames=2, size=48)[0]
    return scene.points.reshape(-1, 3).double()


@pytest.fixture(scope="module")
def bent(truth):
    """A prediction that no similarity can make right."""
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return truth + 0.1 * torch.sin(truth) + 0.05 * noise


def mean_point_error(predicted, truth):
    return relative_distance(align_similarity(predicted, truth).apply(predicted), truth)


def aligned_clouds(predicted, truth, reach, protocol=FULL_CLOUDS):
    """Both clouds, the predicted one after a similarity and ICP, as `measure` does it."""
    target = SearchedCloud(truth.numpy(), reach)
    aligned = align_similarity(predicted, truth).apply(predicted).numpy()
    return SearchedCloud(refine_by_icp(aligned, target, protocol)), target


def test_clouds_agree_with_the_reference(golden_metrics):
    """The recorded scores are of clouds after the similarity, before any ICP."""
    data, expected = golden_metrics
    for name in ("points0", "points1"):
        predicted, truth = data[f"{name}.pred"], data[f"{name}.gt"]
        clouds = [SearchedCloud(align_similarity(predicted, truth).apply(predicted).numpy())]
        clouds += [SearchedCloud(truth.numpy())]
        for cloud, which in zip(clouds, ("pred", "gt"), strict=True):
            cloud.normals = data[f"{name}.{which}_normals"].numpy()
        found = cloud_errors(*clouds)
        for number, pair in (("nc1", clouds), ("nc2", clouds[::-1])):
            agreement = normal_agreement(*pair, None)
            found |= {f"{number}_mean": agreement.mean(), f"{number}_median": np.median(agreement)}
        for measure in set(expected[name]) - {"umeyama_scale"}:
            assert found[measure] == pytest.approx(expected[name][measure], rel=1e-6), measure
        assert found["nc_mean"] == pytest.approx((expected[name]["nc1_mean"] + expected[name]["nc2_mean"]) / 2)


def test_nearest_neighbours_agree_with_brute_force(truth, bent):
    a, b = bent[::20].numpy(), truth[5::20].numpy()
    distances = np.linalg.norm(a[:, None] - b[None], axis=-1)
    found = cloud_errors(SearchedCloud(a), SearchedCloud(b), protocol=CloudProtocol(points=None, normals=0))
    assert found["acc_mean"] == pytest.approx(distances.min(1).mean())
    assert found["comp_median"] == pytest.approx(np.median(distances.min(0)))


def test_a_moved_cloud_has_no_error_and_a_thickened_one_has_its_thickness():
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(3000, 3, generator=generator, dtype=torch.float64) * 2
    turn = torch.from_numpy(Rotation.random(rng=4).as_matrix())
    moved = 0.4 * truth @ turn.T + 5
    assert mean_point_error(moved, truth) == pytest.approx(0, abs=1e-9)
    assert cloud_errors(*aligned_clouds(moved, truth, 0.1))["acc_mean"] == pytest.approx(0, abs=1e-6)
    noise = 0.01 * torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator, dtype=torch.float64), dim=-1)
    expected = 0.01 / truth.norm(dim=-1).mean().item()
    assert mean_point_error(truth + noise, truth) == pytest.approx(expected, rel=0.02)


def test_scale_alone_forgives_scale_alone(truth):
    assert scaled_point_error(0.3 * truth, truth) == pytest.approx(0, abs=1e-12)
    turned = truth @ torch.from_numpy(TURN).T
    assert mean_point_error(turned, truth) == pytest.approx(0, abs=1e-9)
    trials = [((turned * s - truth).square().sum().item(), s) for s in np.linspace(0.5, 1, 501)]
    best = turned * min(trials)[1]
    expected = ((best - truth).norm(dim=-1).mean() / truth.norm(dim=-1).mean()).item()
    assert scaled_point_error(turned, truth) == pytest.approx(expected, rel=1e-3) and expected > 0.1
    with pytest.raises(FgqError, match="first camera"):
        scaled_point_error(torch.zeros_like(truth), truth)


@pytest.mark.parametrize("unit", [0.01, 1000.0])
def test_errors_are_lengths_whatever_their_unit(truth, bent, unit):
    metres = cloud_errors(*aligned_clouds(bent, truth, 0.1, FAST_CLOUDS), protocol=FAST_CLOUDS)
    other = cloud_errors(*aligned_clouds(bent * unit, truth * unit, 0.1 * unit, FAST_CLOUDS), protocol=FAST_CLOUDS)
    for name, value in metres.items():
        assert other[name] / unit == pytest.approx(value, rel=1e-6), name


def test_errors_do_not_see_a_similarity_of_the_prediction(truth, bent):
    moved = 3.0 * bent @ torch.from_numpy(TURN).T + 2
    one = cloud_errors(*aligned_clouds(bent, truth, 0.1), protocol=FAST_CLOUDS)
    two = cloud_errors(*aligned_clouds(moved, truth, 0.1), protocol=FAST_CLOUDS)
    assert one == pytest.approx(two, rel=1e-6)


def test_icp_undoes_a_small_motion_and_says_nothing(truth, capfd):
    cloud = truth.numpy()
    moved = cloud @ Rotation.from_rotvec([0, 0.004, 0.002]).as_matrix().T + 0.01
    target = SearchedCloud(cloud, 0.1)
    before, after = (np.linalg.norm(c - cloud, axis=-1).mean() for c in (moved, refine_by_icp(moved, target)))
    assert after < 0.2 * before
    far = refine_by_icp(moved + 50, target)  # no pair is near enough: nothing moves
    np.testing.assert_allclose(far, moved + 50)
    with pytest.raises(FgqError, match="at least 10"):
        refine_by_icp(cloud[:5], target)
    assert capfd.readouterr() == ("", "")


def test_looking_up_some_points_in_the_whole_cloud_is_unbiased(truth, bent):
    """Thinning both clouds instead would lengthen every distance."""
    clouds = aligned_clouds(bent, truth, 0.1)
    whole = cloud_errors(*clouds, protocol=CloudProtocol(points=None, normals=0))
    some = cloud_errors(*clouds, protocol=CloudProtocol(points=1000, normals=0))
    for name in ("acc_mean", "comp_mean"):
        assert some[name] == pytest.approx(whole[name], rel=0.06), name
    kept = slice(None, None, len(truth) // 1000)
    thinned = cloud_errors(
        *(SearchedCloud(cloud.points[kept]) for cloud in clouds), protocol=CloudProtocol(points=None, normals=0)
    )
    assert thinned["comp_mean"] > 1.15 * whole["comp_mean"]


def test_normals_of_a_plane_are_its_own():
    generator = np.random.default_rng(0)
    plane = np.concatenate([generator.uniform(0, 1, (900, 2)), np.zeros((900, 1))], axis=1)
    tilted = plane @ Rotation.from_rotvec([np.pi / 3, 0, 0]).as_matrix().T
    moved, tilted, plane = map(SearchedCloud, (plane + [0, 0, 0.01], tilted, plane))
    flat, steep = cloud_errors(moved, plane), cloud_errors(tilted, plane)
    assert flat["nc_mean"] == pytest.approx(1) and steep["nc_mean"] == pytest.approx(0.5)
    assert flat["acc_mean"] == pytest.approx(0.01)


def test_normals_of_a_sphere_point_from_its_centre():
    """An even spiral over the sphere; each true normal is the point itself."""
    steps = np.arange(4000) + 0.5
    height, turn = 1 - 2 * steps / 4000, np.pi * (1 + 5**0.5) * steps
    sphere = np.stack([*(np.sqrt(1 - height**2) * (np.cos(turn), np.sin(turn))), height], axis=1)
    cosines = np.abs((surface_normals(3 * sphere + 5) * sphere).sum(1))
    assert cosines.min() > np.cos(np.radians(1))
    upright, found = SearchedCloud(sphere), SearchedCloud(sphere)
    upright.normals = np.tile([0.0, 0, 1], (4000, 1))
    assert cloud_errors(upright, found)["nc_mean"] == pytest.approx(0.5, abs=1e-3)  # |z| is even over [0, 1]
    larger = cloud_errors(SearchedCloud(1.01 * sphere), found)
    assert larger["nc_mean"] == pytest.approx(1, abs=1e-3) and larger["acc_mean"] == pytest.approx(0.01, rel=0.2)


def test_normals_are_the_least_direction_of_the_nearest_neighbours(truth):
    cloud = truth.numpy()
    found = surface_normals(cloud)
    for index in range(0, len(cloud), 400):
        near = cloud[np.argsort(np.linalg.norm(cloud - cloud[index], axis=1))[:NORMAL_NEIGHBOURS]]
        least = np.linalg.svd(near - near.mean(0))[2][-1]
        assert abs(least @ found[index]) == pytest.approx(1, abs=1e-6)


def test_normals_at_some_points_are_those_at_all(truth, bent):
    clouds = SearchedCloud(bent.numpy()), SearchedCloud(truth.numpy())
    whole = cloud_errors(*clouds, protocol=CloudProtocol(points=10, normals=None))
    some = cloud_errors(*clouds, protocol=CloudProtocol(points=10, normals=1500))
    assert some["nc_mean"] != whole["nc_mean"] and some["nc_mean"] == pytest.approx(whole["nc_mean"], abs=0.02)


def test_clouds_of_200_000_points_are_searched_as_a_tree_of_another_library_does():
    truth = playroom.load("test", count=1, frames=5, size=200)[0].points.reshape(-1, 3).double()
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    predicted = truth + 0.1 * torch.sin(truth) + 0.02 * noise
    assert len(truth) == 200_000
    mine, true = aligned_clouds(predicted, truth, 0.1)
    errors = cloud_errors(mine, true, protocol=FULL_CLOUDS)
    distances = KDTree(true.points).query(mine.points)[0]
    assert errors["acc_mean"] == pytest.approx(distances.mean()) and 0.01 < errors["acc_mean"] < 0.1
    assert errors["acc_median"] == pytest.approx(np.median(distances)) and 0.5 < errors["nc_mean"] < 1
