"""How fast models are beside one another: full precision, fake quantization, packed codes, products of integers.

Every form has a process of its own, so that its memory can be told, and their passes take turns, so that what slows the
machine for a while slows all of them.
"""

import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from fgq.checkpoint import load_model
from fgq.checkpoint.files import find_files
from fgq.checkpoint.load import find_device, find_dtype, outline
from fgq.errors import FgqError
from fgq.memory.peak import peak_bytes, synchronize
from fgq.processes import process_pool
from fgq.quant.integer_linear import IntegerLinear
from fgq.quant.kernel_choice import with_integers
from fgq.quant.packed_linear import pack_layers, quantized_layers, unpack_layers
from fgq.vggt import VGGT
from fgq.vggt.aggregator import TOKENS_AT_A_TIME

FULL, FAKE, PACKED, INTEGER = "full precision", "fake", "packed", "integer"
QUANTIZED_FORMS = (FAKE, PACKED, INTEGER)
FORMS = (FULL, *QUANTIZED_FORMS)
GIGABYTE = 1e9


@dataclass(frozen=True)
class Entrant:
    """A model in one form: `name` as `load_model` takes it; its dtype None is that in which it was saved."""

    name: str
    form: str
    dtype: torch.dtype | None
    device: str


def bench(
    names: Sequence[str],
    frames: Sequence[int] = (1,),
    height: int | None = None,
    width: int | None = None,
    *,
    forms: Sequence[str] = FORMS,
    dtypes: Sequence[str | None] = (None,),
    device: str = "cpu",
    repeats: int = 5,
) -> pd.DataFrame:
    """Forward passes on random images, a row for each model, form, dtype and number of frames.

    Images are of height × width pixels, where not given of the first model's own size, a square.

    A full-precision model has the form "full precision" alone. A quantized one is "fake" (codes a byte each, products
    of floating-point values), "packed" (the same products, codes at their own width in memory) and "integer" (packed
    codes, and integer products in the layers where those are faster here, `with_integers`). `dtypes` are those of
    weights and computation (float32, bfloat16, float16; None: float32, or as a quantized model was saved).

    Columns: model, form, dtype, frames, height, width [px]; seconds (median of `repeats` passes behind one that does
    not count), fastest, slowest; ratio, the median, pass by pass, of this row's seconds over those of the first row of
    as many frames; disk_gb of the model's files; weights_gb, what its tensors take; peak_gb of the process, libraries
    included (on a GPU, of torch's tensors there), until the row's passes were done; integer_layers of so many quantized
    layers.

    Raises FgqError for what `load_model` and the model refuse, for a form that no model has, and where a process is
    killed for want of memory.
    """
    check_sizes(frames, forms, repeats)
    place = find_device(device)
    entrants = [
        Entrant(str(name), form, find_dtype(dtype), place)
        for name in names
        for form in forms_of(str(name), forms)
        for dtype in dtypes
    ]
    if not entrants:
        raise FgqError(f"none of {', '.join(map(str, names))} has a form among {', '.join(forms)}")
    side = outline(find_files(entrants[0].name))[0].config.img_size
    clips = [
        (count, 3, height or side, width or side) for count in sorted(set(frames))
    ]  # a process's peak only ever grows
    rows = []
    with ExitStack() as stack:
        pools = [stack.enter_context(process_pool(1)) for _ in entrants]
        about = [ask(entrant, pool, prepare, entrant, clips[-1]) for entrant, pool in zip(entrants, pools, strict=True)]
        for clip in clips:
            rounds = np.array([
                [ask(entrant, pool, run_pass, clip) for entrant, pool in zip(entrants, pools, strict=True)]
                for _ in range(1 + repeats)
            ])[1:]  # [repeats, entrants]  # fmt: skip
            peaks = [ask(entrant, pool, peak_bytes, place) for entrant, pool in zip(entrants, pools, strict=True)]
            rows += table_rows(clip, rounds, about, peaks)
    return pd.DataFrame(rows)


def check_sizes(frames: Sequence[int], forms: Sequence[str], repeats: int) -> None:
    unknown = [form for form in forms if form not in FORMS]
    if unknown:
        raise FgqError(f"form {unknown[0]!r} is unknown: choose among {', '.join(FORMS)}")
    if not frames or min(frames) < 1:
        raise FgqError(f"frames must be at least one number from 1 on, not {list(frames)}")
    if repeats < 1:
        raise FgqError(f"repeats must be at least 1, not {repeats}")


def forms_of(name: str, forms: Sequence[str]) -> list[str]:
    own = QUANTIZED_FORMS if find_files(name).quantization else (FULL,)
    return [form for form in forms if form in own]


def table_rows(clip: tuple[int, ...], rounds: np.ndarray, about: list[dict], peaks: list[int]) -> list[dict]:
    count, _, height, width = clip
    ratios = np.median(rounds / rounds[:, :1], axis=0)
    return [
        {name: known[name] for name in ("model", "form", "dtype")}
        | {"frames": count, "height": height, "width": width}
        | {"seconds": np.median(seconds), "fastest": seconds.min(), "slowest": seconds.max(), "ratio": ratio}
        | {name: known[name] for name in ("disk_gb", "weights_gb")}
        | {"peak_gb": peak / GIGABYTE, "integer_layers": known["integer_layers"], "layers": known["layers"]}
        for seconds, ratio, known, peak in zip(rounds.T, ratios, about, peaks, strict=True)
    ]


def ask(entrant: Entrant, pool: ProcessPoolExecutor, work, *arguments):
    try:
        return pool.submit(work, *arguments).result()
    except BrokenProcessPool as error:
        raise FgqError(
            f"{entrant.name} ({entrant.form}): its process was killed, most likely for want of memory: fewer frames, "
            "smaller images, or fewer models and forms at a time take less"
        ) from error


held: dict[str, VGGT] = {}  # in an entrant's process: its model


def prepare(entrant: Entrant, largest: tuple[int, ...]) -> dict:
    """Loads the model in its form, for clips of up to this shape, and tells what it is."""
    model = in_form(load_model(entrant.name, entrant.device, entrant.dtype), entrant.form, largest)
    held["model"] = model
    layers = [module for module in model.modules() if isinstance(module, IntegerLinear)]
    return {
        "model": entrant.name,
        "form": entrant.form,
        "dtype": str(model.dtype).removeprefix("torch."),
        "disk_gb": find_files(entrant.name).num_bytes / GIGABYTE,
        "weights_gb": sum(tensor.nbytes for tensor in model.state_dict().values()) / GIGABYTE,
        "integer_layers": len(layers),
        "layers": len(list(quantized_layers(model))),
    }


def in_form(model: VGGT, form: str, largest: tuple[int, ...]) -> VGGT:
    if form == FULL:
        return model
    if form == FAKE:
        return unpack_layers(model)
    model = pack_layers(model)
    if form == PACKED:
        return model
    count, _, height, width = largest
    patches = (height // model.config.patch_size) * (width // model.config.patch_size)
    tokens = count * (model.config.num_special_tokens + patches)
    return with_integers(model, min(tokens, TOKENS_AT_A_TIME))[0]


@torch.no_grad()
def run_pass(clip: tuple[int, ...]) -> float:
    """Seconds of one forward pass."""
    model = held["model"]
    images = torch.rand(clip, generator=torch.Generator().manual_seed(0)).to(model.device)
    synchronize(model.device)
    began = time.perf_counter()
    model(images)
    synchronize(model.device)
    return time.perf_counter() - began
