"""One process for each measurement: what was predicted is compared with what the system says it took."""

import pytest
import torch
from safetensors.torch import save_file

from fgq.checkpoint.files import find_files
from fgq.checkpoint.load import outline
from fgq.memory.forward import forecast
from fgq.memory.measure import measure
from fgq.vggt.weights import MisfitError

FACTOR = 1.6  # measured activations over predicted: kernels' own workspaces come on top
CLIP = (12, 256, 256)


def test_predicted_memory_is_what_a_process_takes(monkeypatch):
    # glibc keeps freed pieces below 32 MB, by chance more or less of them; so it keeps those below 256 kB only.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(1 << 18))
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", str(1 << 18))
    found = measure("vggt-tiny", *CLIP)
    expected = forecast(outline(find_files("vggt-tiny"))[0], *CLIP, torch.float32)
    assert found.weight_bytes == expected.weight_bytes
    assert expected.activation_bytes > 1e8  # else the allocator's slack would be all that is seen
    assert 0.9 <= found.activation_bytes / expected.activation_bytes < FACTOR
    assert 0 < found.load_seconds < 60 and 0 < found.forward_seconds < 600
    assert found.peak_bytes > found.process_bytes + found.weight_bytes


def test_what_the_other_process_refuses_is_refused_here(toy_model, tmp_path):
    state = toy_model.state_dict()
    del state["depth_head.norm.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(MisfitError) as caught:  # it has more than a message to bring along
        measure(str(tmp_path), 1, 64, 64)
    assert caught.value.missing == ("depth_head.norm.weight",) and caught.value.unknown == ()
