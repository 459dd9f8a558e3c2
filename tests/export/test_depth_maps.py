import numpy as np
import pytest
import torch
from PIL import Image

from fgq.export.depth_maps import write_maps, write_npz, write_png


def read(path):
    with Image.open(path) as file:
        assert file.mode.startswith("I")
        return np.asarray(file).astype(np.int64), float(file.text["scale"])


@pytest.mark.parametrize("top", [1e-6, 1.0, 7.3, 1e9])
def test_values_come_back_within_half_a_scale(tmp_path, top):
    values = top * torch.rand(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    valid = torch.rand(20, 30, generator=torch.Generator().manual_seed(1)) > 0.3
    values[0, :2] = torch.tensor([torch.nan, torch.inf])
    values[1, 0] = 1e-9 * top  # nearer than the scale resolves, but there
    valid[0, :2], valid[1, 0] = False, True
    scale = write_png(values, valid, tmp_path / "a.png")
    codes, told = read(tmp_path / "a.png")
    assert told == scale
    assert ((codes == 0) == ~valid.numpy()).all()
    error = np.abs(codes * scale - values.numpy())[valid.numpy()]
    assert np.median(error) <= 0.5 * scale and error.max() <= scale and codes.max() == 65535


def test_a_map_without_a_valid_pixel_is_zero(tmp_path):
    write_png(torch.full((4, 4), torch.nan), torch.zeros(4, 4, dtype=torch.bool), tmp_path / "a.png")
    assert not read(tmp_path / "a.png")[0].any()


def test_maps_are_the_depth(truth, tmp_path):
    entries = write_maps(truth.reconstruct(), ["a", "b", "c"], tmp_path)
    for s, entry in enumerate(entries):
        codes, scale = read(tmp_path / entry["depth"])
        np.testing.assert_allclose(codes * entry["depth_scale"], truth.depth[s], atol=0.51 * scale)
        codes, _ = read(tmp_path / entry["confidence"])
        np.testing.assert_allclose(
            codes * entry["confidence_scale"], truth.predictions.depth_conf[0, s], atol=entry["confidence_scale"]
        )


def test_npz_holds_everything_in_float32(truth, tmp_path):
    write_npz(truth.reconstruct(), ["a", "b", "c"], tmp_path / "depth.npz")
    stored = np.load(tmp_path / "depth.npz")
    assert stored["names"].tolist() == ["a", "b", "c"] and stored["valid"].all()
    assert np.array_equal(stored["depth"], truth.depth.numpy())
    np.testing.assert_allclose(stored["points"], truth.points, atol=1e-5)
