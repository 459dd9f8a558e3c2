"""Which kernel a layer multiplies its codes with: the one that was fastest, timed here and remembered."""

import copy
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from fgq.quant.integer_linear import IntegerLinear, obstacle, sums_of
from fgq.quant.kernels import available, findings
from fgq.quant.linear import QuantizedLinear
from fgq.writing import write_json

FAKE = "floating point"  # what stands for a layer that stays as it is: fake quantization, then a product of values
REPEATS, LEAST_SECONDS = 3, 0.02  # of a timing
CACHE = "FGQ_CACHE"  # the variable that names another folder than ~/.cache/fgq


@dataclass(frozen=True)
class Choice:
    """Of one layer: its kernel, the seconds that each candidate took, and why no other could be one."""

    path: str
    out: int
    width: int
    kernel: str
    seconds: dict[str, float]
    reason: str


@torch.no_grad()
def with_integers(model: nn.Module, tokens: int, kernel: str | None = None) -> tuple[nn.Module, pd.DataFrame]:
    """A copy of a model that multiplies integers wherever that is faster here, and what was chosen, layer by layer.

    Copy and model share their tensors. Timed with `tokens` tokens in a layer's input, in the layers' own dtype and on
    their device, once for layers that are alike; the fastest is remembered in a file (FGQ_CACHE, or ~/.cache/fgq) for
    this machine, version of torch and number of threads. A `kernel` is taken wherever it is exact, whatever it takes.
    The table has path, out, width, kernel, reason, and a column of seconds for each candidate.
    """
    memory = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    copied, found, times = copy.deepcopy(model, memory), [], Times()
    layers = {path: module for path, module in copied.named_modules() if isinstance(module, QuantizedLinear)}
    for path, layer in layers.items():
        choice = choose(path, layer, tokens, times, kernel)
        found.append({name: value for name, value in asdict(choice).items() if name != "seconds"} | choice.seconds)
        if choice.kernel != FAKE:
            copied.set_submodule(path, IntegerLinear(layer, choice.kernel))
    times.save()
    return copied, pd.DataFrame(found)


def choose(path: str, layer: QuantizedLinear, tokens: int, times: "Times", wanted: str | None) -> Choice:
    sizes, device = (layer.out_features, layer.in_features), layer.bias.device
    fault = obstacle(layer)
    if fault is not None:
        return Choice(path, *sizes, FAKE, {}, fault)
    kernels = [kernel.name for kernel in available(device, *sums_of(layer))]
    reason = "; ".join(f"{name} {why}" for name, why in findings(device).items() if why is not None)
    if wanted is not None:
        return Choice(path, *sizes, wanted if wanted in kernels else FAKE, {}, reason)
    candidates = {FAKE: layer} | {name: IntegerLinear(layer, name) for name in kernels}
    seconds = {name: times.of(layer, name, tokens, module) for name, module in candidates.items()}
    return Choice(path, *sizes, min(seconds, key=seconds.get), seconds, reason)


class Times:
    """Seconds of layers on this machine, those of earlier processes included."""

    def __init__(self):
        self.path = Path(os.environ.get(CACHE, Path.home() / ".cache" / "fgq")) / "kernels.json"
        self.known, self.is_changed = {}, False
        with suppress(OSError, ValueError):  # no file yet, or none that can be read: it is timed again
            stored = json.loads(self.path.read_text())
            self.known = {key: float(value) for key, value in stored.items()}

    def of(self, layer: QuantizedLinear, name: str, tokens: int, module: nn.Module) -> float:
        device, dtype = layer.bias.device, layer.bias.dtype
        grids = (layer.weight_grid, layer.activation_grid, layer.special_grid, len(layer.clip.table))
        layer_key = [layer.out_features, layer.in_features, str(grids), tokens, str(dtype), name]
        machine = [platform.processor(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
        machine = [torch.cuda.get_device_name(device)] if device.type == "cuda" else machine
        key = json.dumps([torch.__version__, str(device.type), *machine, *layer_key])
        if key not in self.known:
            x = torch.randn(1, tokens, layer.in_features, generator=torch.Generator().manual_seed(0))
            self.known[key] = timed(module, x.to(device, dtype))
            self.is_changed = True
        return self.known[key]

    def save(self) -> None:
        if self.is_changed:
            with suppress(Exception):  # a folder that cannot be written costs the next process some time, and no more
                write_json(self.path, self.known, "the times of kernels")


def timed(module: Callable[..., Tensor], x: Tensor) -> float:
    """The shortest of some calls, with the first rows as special tokens."""
    special = torch.arange(1, device=x.device)
    module(x, special)
    shortest, spent, count = float("inf"), 0.0, 0
    while count < REPEATS or spent < LEAST_SECONDS:
        wait(x)
        began = time.perf_counter()
        module(x, special)
        wait(x)
        passed = time.perf_counter() - began
        shortest, spent, count = min(shortest, passed), spent + passed, count + 1
    return shortest


def wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
