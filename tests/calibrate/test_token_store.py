import os

import pytest
import torch

from fgq.calibrate import quantize
from fgq.calibrate.token_store import TokenStore, fits
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.vggt.weights import fingerprint

QUICK = dict(epochs=2, warmup_steps=2, progress=False)


def make_scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(4)]


def test_a_file_holds_what_is_written_and_leaves_nothing_behind(tmp_path):
    store = TokenStore(tmp_path / "new")
    tensor = store.empty((3, 5), torch.bfloat16)
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    tensor[1:] = values[1:]
    tensor[0] = values[0]
    assert torch.equal(tensor, values) and tensor.dtype == torch.bfloat16
    assert list((tmp_path / "new").iterdir()) == []


def test_a_disk_that_is_too_small_is_named_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(FgqError, match=f"{tmp_path}: no room for 0.00 GB of tokens .*No space left"):
        TokenStore(tmp_path).empty((4,), torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FgqError, match="file: no room|file.*exists"):
        TokenStore(tmp_path / "file").empty((4,), torch.float32)


@pytest.mark.parametrize("budget, answer", [(0, False), (479, False), (480, True), (10**6, True)])
def test_a_budget_counts_bytes(budget, answer):
    assert fits(budget, 2, (3, 4, 5), torch.float32) == answer


def test_a_negative_budget_is_refused():
    with pytest.raises(FgqError, match="token_budget is -1 bytes"):
        fits(-1, 1, (1,), torch.float32)


@pytest.mark.filterwarnings("ignore:.*so its start was kept")
@pytest.mark.parametrize("recipe", [{"recipe": "flatquant"}, {"recipe": "flatquant", "block_inputs": "quantized"}])
def test_files_give_what_memory_gives(toy_model, tmp_path, recipe):
    """Tokens that are rounded to bfloat16 in memory are the same ones in files, bit for bit."""
    memory = quantize(toy_model, make_scenes(), **recipe, **QUICK, token_dtype="bfloat16")
    files = quantize(toy_model, make_scenes(), **recipe, **QUICK, token_budget=0, token_dir=tmp_path)
    assert fingerprint(files) == fingerprint(memory)
    assert files.quantization.recipe.token_dtype == "bfloat16" and list(tmp_path.iterdir()) == []
