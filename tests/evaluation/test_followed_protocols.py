"""Datasets of a few frames in their public layouts, evaluated by published protocols and by formulas written anew."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

import fgq
from fgq.errors import FgqError
from fgq.evaluation import FAST_CLOUDS, Report, combine
from fgq.evaluation.published import OF_TABLE, beside_published, published_results
from fgq.vggt import VGGT, Predictions, VGGTConfig

sys.path.append(str(Path(__file__).parents[1] / "data_loading"))

from writers import co3d, kitti, seven_scenes  # noqa: E402
from writers.room import build_room  # noqa: E402

WIDTH = 56
SMALL = dict(
    img_size=28, patch_size=14, embed_dim=16, depth=1, num_heads=2, encoder_depth=1, camera_trunk_depth=1,
    dpt_features=8, dpt_out_channels=(8, 8, 8, 8), dpt_layers=(0, 0, 0, 0),
)  # fmt: skip


class Disturbed(VGGT):
    """Answers with the truth of its scenes, disturbed; `answers` keeps, by scene, what it has said."""

    def __init__(self, scenes, degrees):
        super().__init__(VGGTConfig(**SMALL))
        generator, self.answers = np.random.default_rng(0), {}
        for scene in scenes:
            still = torch.eye(3, 4).expand(scene.num_frames, 3, 4)
            truth = scene.extrinsics if scene.extrinsics is not None else still
            turn = Rotation.from_rotvec(np.radians(degrees) * generator.normal(size=(scene.num_frames, 3)))
            rotation = turn.as_matrix() @ truth[:, :, :3].double().numpy()
            shift = truth[:, :, 3].double().numpy() * generator.uniform(0.9, 1.1, (scene.num_frames, 3))
            wave = 1 + 0.05 * np.sin(np.linspace(0, 9, scene.images.shape[-1]))
            self.answers[scene.name] = rotation, shift, 0.5 * scene.depth.double().numpy() * wave
        self.scenes = scenes

    def forward(self, images):
        found = [next(s for s in self.scenes if torch.equal(s.images, clip)) for clip in images]
        encodings, depths = [], []
        for scene in found:
            rotation, shift, depth = self.answers[scene.name]
            height, width = scene.images.shape[-2:]
            focal = scene.intrinsics.double().numpy()
            views = np.arctan([height / 2 / focal[:, 1, 1], width / 2 / focal[:, 0, 0]]).T * 2
            encodings.append(np.concatenate([0.5 * shift, Rotation.from_matrix(rotation).as_quat(), views], axis=1))
            depths.append(np.where(depth > 0, depth, 1.0))
        depth = torch.from_numpy(np.stack(depths)).float()
        return Predictions(
            pose_enc=torch.from_numpy(np.stack(encodings)).float(),
            depth=depth[..., None],
            depth_conf=torch.ones_like(depth),
            world_points=torch.stack([depth] * 3, dim=-1),
            world_points_conf=torch.ones_like(depth),
        )


def ours_by_metric(report):
    both = beside_published(report)
    return both.set_index("metric")["mean"], both


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("co3d")
    rooms = [build_room(index, 12, 42, WIDTH) for index in range(3)]
    co3d.write(root, {"apple": {"1_1_1": rooms[0], "2_2_2": rooms[1]}, "bench": {"3_3_3": rooms[2]}})
    return fgq.load_scenes(protocol="fgq-co3d", root=root, size=WIDTH)


@pytest.fixture(scope="module")
def posed(photographs):
    model = Disturbed(photographs, degrees=1.5)
    return model, fgq.evaluate(model, photographs, progress=False)


def angles_of_pairs(rotation, shift, truth):
    """Largest of both errors of each pair i < j, degrees, by quaternions and by the cosine of directions."""
    worst = []
    for i in range(len(truth)):
        for j in range(i + 1, len(truth)):
            parts = []
            for r, t in ((rotation, shift), (truth[:, :, :3], truth[:, :, 3])):
                relative = r[i] @ r[j].T
                parts.append((Rotation.from_matrix(relative).as_quat(), t[i] - relative @ t[j]))
            (p, a), (q, b) = parts
            turned = 2 * np.degrees(np.arccos(np.clip(abs(p @ q), 0, 1)))
            cosine = abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
            worst.append(max(turned, np.degrees(np.arccos(np.clip(cosine, 0, 1)))))
    return np.array(worst)


def test_co3d_is_the_mean_over_categories_of_the_area_under_their_pooled_histograms(photographs, posed):
    model, report = posed
    pooled = {}
    for scene in photographs:
        rotation, shift, _ = model.answers[scene.name]
        errors = angles_of_pairs(rotation, shift, scene.extrinsics.double().numpy())
        pooled.setdefault(scene.name.split("/")[0], []).extend(errors)
    found, both = ours_by_metric(report)
    for limit in (30, 15, 5, 3):
        areas = []
        for errors in pooled.values():
            histogram, _ = np.histogram(errors, bins=np.arange(limit + 1))
            areas.append(100 * np.mean(np.cumsum(histogram / len(errors))))
        assert found[f"pose_auc@{limit}"] == pytest.approx(np.mean(areas), abs=1e-6)
        assert 1 < found[f"pose_auc@{limit}"] < 99 and areas[0] != areas[1]
    assert len(both) == 4 and both.scenes.eq(2).all() and both.published.iloc[0] == 97.31


def test_what_differs_is_told_from_both_protocols(posed):
    named = Report(posed[1].frame.assign(model="facebook/VGGT-1B"))
    assert beside_published(named).differs.unique().tolist() == [
        "3 of 2,506 sequences; images 56 pixels wide, not 504; theirs runs under bfloat16 autocast; "
        "other random frames: their lists are not public"
    ]


def test_seeds_calibration_and_failures_are_told_too(posed):
    rows = posed[1].frame.assign(recipe="fgq", weight_bits=4, activation_bits=4, model="tiny")
    parts = [rows.assign(seed=seed, calibration="playroom calibration") for seed in (0, 1)]
    parts[1].loc[parts[1].scene == "bench/3_3_3", "value"] = np.nan
    differs = beside_published(Report(pd.concat(parts, ignore_index=True))).differs[0]
    for words in (
        "model tiny, not VGGT-1B", "calibrated on playroom calibration, not on CO3Dv2",
        "mean of 2 seeds, theirs of one",
        "1 scenes have no value",
    ):  # fmt: skip
        assert words in differs


def test_reports_of_other_protocols_do_not_pair(posed, tmp_path):
    report = posed[1]
    other = Report(report.frame.assign(protocol="fgq-dtu"))
    told = r"several protocols \(fgq-co3d, fgq-dtu\): choose .only\(protocol=…\)"
    with pytest.raises(FgqError, match=told):
        report.compare(other)
    with pytest.raises(FgqError, match=told):
        combine([report, Report(other.frame.assign(scene="x"))]).summary()
    with pytest.raises(FgqError, match=r"several protocols \(none, fgq-co3d\)"):
        beside_published(combine([report, Report(report.frame.assign(protocol=""))]))
    unnamed = Report(report.frame.drop(columns=["protocol", "departures"]))  # of an earlier version
    assert len(report.compare(unnamed)) and len(report.compare(report))
    report.save(tmp_path / "report.csv")
    pd.testing.assert_frame_equal(beside_published(Report.load(tmp_path / "report.csv")), beside_published(report))


def test_a_report_with_a_protocol_needs_no_words(posed):
    with pytest.raises(FgqError, match="says itself that it is of fgq-co3d"):
        beside_published(posed[1], "some sequences")


def enlarged(room, times):
    images, depth = (values.repeat(times, axis=1).repeat(times, axis=2) for values in (room.images, room.depth))
    return replace(room, images=images, depth=depth)


def nearest_distances(queries, cloud):
    return cKDTree(cloud).query(queries)


def slid(cloud, truth, reach):
    """Point-to-point ICP by singular values, until nothing moves."""
    tree = cKDTree(truth)
    for _ in range(200):
        distance, index = tree.query(cloud)
        near = distance < reach
        a, b = cloud[near], truth[index[near]]
        u, _, v = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
        moved = (cloud - a.mean(0)) @ rotation.T + b.mean(0)
        if np.abs(moved - cloud).max() < 1e-7:
            return moved
        cloud = moved
    return cloud


def normals_of(cloud):
    _, index = cKDTree(cloud).query(cloud, k=30)
    around = cloud[index] - cloud[index].mean(1, keepdims=True)
    return np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))[1][:, :, 0]


def test_seven_scenes_is_the_mean_over_sequences_of_errors_of_whole_clouds(tmp_path):
    small = {f"seq-0{n}": build_room(n, 4, 48, 64, focal=(52.5, 52.5)) for n in (1, 2)}
    rooms = {name: enlarged(room, 10) for name, room in small.items()}
    seven_scenes.write(tmp_path, {"chess": rooms}, depth_suffix="depth.proj")
    scenes = fgq.load_scenes(protocol="fgq-7scenes", root=tmp_path, size=WIDTH, scenes=("chess",), every=2)
    model = Disturbed(scenes, degrees=1)
    report = fgq.evaluate(model, scenes, progress=False)
    assert report.frame.clouds.eq("all").all()
    rows = []
    for scene in scenes:
        rotation, shift, depth = model.answers[scene.name]
        height, width = scene.images.shape[-2:]
        y, x = np.mgrid[:height, :width] + 0.5
        focal, valid = scene.intrinsics[:, [0, 1], [0, 1]].double().numpy(), scene.valid.numpy()
        views, true = [], []
        for frame in range(scene.num_frames):
            rays = np.stack(
                [(x - width / 2) / focal[frame, 0], (y - height / 2) / focal[frame, 1], np.ones_like(x)], -1
            )
            seen = (rays * depth[frame, ..., None] - 0.5 * shift[frame]) @ rotation[frame]
            views.append(seen[valid[frame]])
            true.append(scene.points[frame].double().numpy()[valid[frame]])
        cloud, truth = np.concatenate(views), np.concatenate(true)
        a, b = cloud - cloud.mean(0), truth - truth.mean(0)
        u, sizes, v = np.linalg.svd(b.T @ a)
        sign = np.diag([1, 1, np.linalg.det(u @ v)])
        scale = (sizes * np.diag(sign)).sum() / (a**2).sum()
        aligned = slid(scale * a @ (u @ sign @ v).T + truth.mean(0), truth, 0.1)
        (there, index), (back, other) = nearest_distances(aligned, truth), nearest_distances(truth, aligned)
        mine, theirs = normals_of(aligned), normals_of(truth)
        forward, backward = np.abs((theirs[index] * mine).sum(1)), np.abs((mine[other] * theirs).sum(1))
        rows.append(
            {
                "acc_mean": there.mean(), "acc_median": np.median(there), "comp_mean": back.mean(),
                "comp_median": np.median(back), "nc_mean": (forward.mean() + backward.mean()) / 2,
                "nc_median": (np.median(forward) + np.median(backward)) / 2,
            }
        )  # fmt: skip
    found, both = ours_by_metric(report)
    for name, value in pd.DataFrame(rows).mean().items():
        assert found[f"unprojected_{name}"] == pytest.approx(value, rel=0.03), name
    assert len(both) == 6 and "scenes chess" in both.differs[0] and "depth sensor" not in both.differs[0]
    fast = fgq.evaluate(model, scenes, progress=False, clouds=FAST_CLOUDS)
    assert "1000 points of a cloud looked up, not all" in beside_published(fast).differs[0]


def test_kitti_videos_have_one_scale_each(tmp_path):
    drives = ("2011_09_26_drive_0002_sync", "2011_09_28_drive_0037_sync")
    kitti.write_video(tmp_path, {drive: build_room(n, 4, 28, 60) for n, drive in enumerate(drives)})
    scenes = fgq.load_scenes(protocol="fgq-kitti-video", root=tmp_path, size=(28, 56), drives=drives)
    model = Disturbed(scenes, degrees=1)
    report = fgq.evaluate(model, scenes, progress=False)
    rows = []
    for scene in scenes:
        valid = scene.valid.numpy()
        predicted, truth = model.answers[scene.name][2][valid], scene.depth.double().numpy()[valid]
        predicted = predicted * np.sort(truth)[(len(truth) - 1) // 2] / np.sort(predicted)[(len(truth) - 1) // 2]
        off, ratio = predicted - truth, np.maximum(predicted / truth, truth / predicted)
        rows.append([(abs(off) / truth).mean(), (off**2 / truth).mean(), (off**2).mean() ** 0.5, (ratio < 1.25).mean()])
    found, both = ours_by_metric(report)
    names = ["depth_abs_rel", "depth_sq_rel", "depth_rmse", "depth_delta1"]
    np.testing.assert_allclose(found[names], np.mean(rows, axis=0), rtol=1e-5)
    assert both.dataset.eq("kitti video").all() and both.published.iloc[0] == 0.058
    assert "2 of 13 sequences" in both.differs[0] and "one scale a scene by medians" in both.differs[0]


def test_every_number_of_the_paper_has_its_protocol():
    table = published_results()
    for name, part in table.groupby("dataset"):
        protocol = OF_TABLE[name]
        assert set(part.metric) <= set(protocol.metrics) and part.protocol.eq(str(protocol)).all()
    assert len(OF_TABLE) == table.dataset.nunique()
