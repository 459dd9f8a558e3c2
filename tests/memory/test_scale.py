import pytest
import torch

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.memory.scale import CLEAR_REFS, USES, cost, random_model
from fgq.vggt import VGGT, VGGTConfig

pytestmark = pytest.mark.skipif(not CLEAR_REFS.exists(), reason="peak memory is read from Linux's /proc")
SMALL = dict(
    img_size=112,
    patch_size=14,
    embed_dim=128,
    depth=8,
    num_heads=4,
    encoder_depth=1,
    camera_trunk_depth=1,
    dpt_features=8,
    dpt_out_channels=(8, 8, 8, 8),
    dpt_layers=(4, 5, 6, 7),
)


def test_a_random_model_has_finite_answers_and_needs_no_gradients():
    model = random_model(VGGTConfig(**SMALL), torch.bfloat16)
    assert isinstance(model, VGGT) and model.dtype == torch.bfloat16
    with torch.no_grad():
        predictions = model(torch.rand(2, 3, 28, 42))
    assert all(torch.isfinite(predictions[name]).all() for name in ("pose_enc", "depth", "world_points"))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_measured_bytes_are_at_least_what_the_block_outputs_need():
    config = VGGTConfig(**SMALL)
    lean, plain = (cost(use, config, frames=20, height=112, width=112) for use in ("forward", "forward, all kept"))
    one_output = 20 * (64 + 5) * 128 * 4
    assert plain.extra_bytes >= 16 * one_output
    assert plain.extra_bytes - lean.extra_bytes >= 6 * one_output  # of eight outputs, less what an allocator keeps
    weights = sum(p.numel() for p in random_model(config, torch.float32).parameters()) * 4
    assert lean.weight_bytes == weights < lean.resting_bytes and lean.seconds > 0


@pytest.mark.parametrize("use", USES)
def test_every_use_runs(use):
    model = random_model(VGGTConfig(**(SMALL | dict(depth=1, dpt_layers=(0, 0, 0, 0)))), torch.float32)
    USES[use](model, [Scene(f"s{i}", torch.rand(2, 3, 28, 28)) for i in range(2)])


def test_an_unknown_use_is_named():
    with pytest.raises(FgqError, match="use 'nonsense' is unknown: choose one of forward"):
        cost("nonsense", VGGTConfig(**SMALL), 1, 28, 28)


def test_what_the_use_refuses_comes_back_from_its_process():
    with pytest.raises(FgqError, match="multiples of the patch size"):
        cost("forward", VGGTConfig(**SMALL), 1, 28, 29)
