"""Shared by all tests: shapes in signatures are checked as the code runs; golden data; small models."""

import json
import os
import signal
from pathlib import Path

import safetensors

from tests import shapes
from tests.misaligned import MisalignedFile

# What tests/other_cpus.py sets: bytes that every tensor of a file lies off an aligned address; threads; no checks of
# shapes.
if "FGQ_TEST_MISALIGNED" in os.environ:
    safetensors.safe_open = MisalignedFile  # before fgq takes it

# Before anything of fgq is imported.
if os.environ.get("FGQ_TEST_SHAPES") != "0":
    shapes.check_shapes()

import pandas as pd  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402

from fgq.evaluation.report import Report  # noqa: E402
from fgq.metrics.table import METRICS  # noqa: E402
from fgq.vggt import VGGT, VGGTConfig  # noqa: E402

DATA = Path(__file__).parent / "data"
INPUT_FIELDS = ("B", "S", "H", "W", "seed")  # in the golden files' config beside the model's sizes
TOY_SIZES = dict(
    img_size=16,
    patch_size=8,
    embed_dim=16,
    depth=2,
    num_heads=2,
    encoder_depth=1,
    num_register_tokens=2,
    camera_trunk_depth=1,
    dpt_features=8,
    dpt_out_channels=(4, 8, 8, 8),
    dpt_layers=(0, 0, 1, 1),
)

# A job in a shell's background is told to ignore it, and so would be whatever a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The models are so small that threads only wait for one another.
torch.set_num_threads(int(os.environ.get("FGQ_TEST_THREADS", 1)))


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "cuda: needs a GPU, and is skipped in words where torch finds none")


def pytest_runtest_setup(item) -> None:
    shapes.calls.clear()
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")


class Golden:
    """One golden file: tensors by name, all tensors under a prefix, and the model it was recorded from."""

    def __init__(self, name: str):
        with safe_open(DATA / f"{name}.safetensors", "pt") as file:
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}
            self.metadata = {key: json.loads(value) for key, value in file.metadata().items()}

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        return {key[len(prefix) :]: value for key, value in self.tensors.items() if key.startswith(prefix)}

    def model(self) -> VGGT:
        sizes = {key: value for key, value in self.metadata["config"].items() if key not in INPUT_FIELDS}
        model = VGGT(VGGTConfig(**sizes))
        model.load_state_dict(self.under("state."), strict=True)
        return model.eval()


@pytest.fixture(scope="session", params=["vggt_square", "vggt_landscape"])
def golden(request) -> Golden:
    """Each golden model in turn; read-only."""
    return Golden(request.param)


@pytest.fixture(scope="session")
def golden_model(golden) -> VGGT:
    """The model of `golden`; read-only."""
    return golden.model()


@pytest.fixture
def build_toy():
    """Makes random models of the smallest size that has every part: build_toy(seed, **sizes)."""

    def build(seed: int = 0, **sizes) -> VGGT:
        model = VGGT(VGGTConfig(**(TOY_SIZES | sizes)))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():  # none is zero, so that no initial value cuts a path of the graph
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        return model.eval()

    return build


@pytest.fixture
def toy_model(build_toy) -> VGGT:
    """A fresh model of its own; the test may change it."""
    return build_toy()


@pytest.fixture
def toy_images() -> torch.Tensor:
    """Two clips of three frames, not square: [2, 3, 3, 16, 24]."""
    return torch.rand(2, 3, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def relative_error():
    """Largest difference in units of the truth's largest magnitude."""

    def measure(value: torch.Tensor, truth: torch.Tensor) -> float:
        assert value.shape == truth.shape
        return ((value - truth).abs().max() / truth.abs().max()).item()

    return measure


@pytest.fixture(scope="session")
def golden_metrics() -> tuple[dict[str, torch.Tensor], dict[str, dict[str, float]]]:
    """Recorded poses and point clouds, and the scores that the reference evaluations gave them."""
    with safe_open(DATA / "metrics.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    return tensors, json.loads((DATA / "metrics.json").read_text())


@pytest.fixture(scope="session")
def report_of():
    """A report of one metric from values [seeds, scenes]."""

    def build(values, recipe="rtn", metric="depth_abs_rel", bits=(4, 4)):
        about = METRICS[metric]
        rows = [
            {"run": "", "recipe": recipe, "weight_bits": bits[0], "activation_bits": bits[1], "seed": seed,
             "dataset": "made", "scene": f"s{n}", "task": about.task, "metric": metric, "value": float(value),
             "unit": about.unit, "higher_is_better": about.higher_is_better, "valid_pixels": 1, "seconds": 0.0,
             "note": ""}
            for seed, row in enumerate(values) for n, value in enumerate(row)
        ]  # fmt: skip
        return Report(pd.DataFrame(rows))

    return build
