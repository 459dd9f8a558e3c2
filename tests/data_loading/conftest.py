"""What the tests of all datasets on disk compare."""

import pytest
import torch

import fgq


@pytest.fixture(scope="session")
def same_as_room():
    """Asserts that a scene is the room that was written: pose 1e-5, images 8 bits, depth to its quantum.

    `unit` is metres a unit of the scene; `quantum` a bound on depth's error, a number or [S, H, W], in that unit.
    """

    def check(scene, room, unit=1.0, quantum=1e-6, index=None, cameras=True):
        index = list(range(len(room.images))) if index is None else index
        truth = {name: value[index] for name, value in room.fields.items()}
        assert (scene.images - truth["images"]).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.allclose(scene.intrinsics, truth["intrinsics"], rtol=1e-6, atol=1e-4)
        if cameras:
            first = fgq.geometry.relative_to_first(torch.from_numpy(room.camera_from_room)[index])
            assert (scene.extrinsics[..., :3] - first[..., :3]).abs().max() < 1e-5
            assert (scene.extrinsics[..., 3] * unit - first[..., 3]).abs().max() < 1e-5
        if scene.depth is not None:
            assert scene.valid.any()
            off = (scene.depth - truth["depth"] / unit).abs()
            assert (off <= quantum)[scene.valid].all(), off[scene.valid].max()
        if scene.points is not None and index[0] == 0:
            reach = (truth["points"].abs().max() / unit).item()
            bound = 2 * torch.as_tensor(quantum).max().item() + 1e-5 * reach  # along a ray up to twice its depth long
            assert ((scene.points - truth["points"] / unit).abs()[scene.valid] <= bound).all()

    return check
