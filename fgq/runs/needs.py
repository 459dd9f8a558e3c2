"""Whether a run can be at all: data, weights and their licences, a GPU, memory, disk. Each lack in words."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from fgq.checkpoint.files import SHIPPED, find_files, shipped_models
from fgq.checkpoint.hub import HubOptions
from fgq.checkpoint.load import outline
from fgq.data import about
from fgq.data.protocols import Protocol, find_protocol
from fgq.data.public.seven_scenes import DEPTH_FILES
from fgq.errors import FgqError
from fgq.runs.runfile import RunFile, Step
from fgq.vggt import VGGTConfig

RENDERED = "playroom"
PROJECTED = DEPTH_FILES["projected"][0]
# Of public weights: sizes are known before they are here.
PUBLIC = {"facebook/VGGT-1B": (VGGTConfig, "CC BY-NC 4.0, non-commercial; so is what is quantized from it", 5.0e9)}


@dataclass(frozen=True)
class Machine:
    """Bytes that are free; None for a GPU that is not there."""

    memory: float
    gpu: float | None
    disk: float

    @classmethod
    def here(cls, out: Path) -> "Machine":
        place = next(path for path in (out.absolute(), *out.absolute().parents) if path.is_dir())
        gpu = float(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None
        return cls(float(psutil.virtual_memory().available), gpu, float(shutil.disk_usage(place).free))


def check_roots(run: RunFile, chapters: set[str] | None = None) -> None:
    """Before a kernel starts. Raises FgqError for a chapter (of all for None) whose dataset's folder is missing."""
    for step in run.steps:
        if chapters is None or step.chapter.name in chapters:
            for lack in missing_data(step):
                raise FgqError(f"{run.path}: chapter {step.chapter.name}: {lack}")


def missing_data(step: Step) -> Iterator[str]:
    """Raises FgqError for a dataset that does not exist."""
    told = step.all_parameters
    if "dataset" not in told:
        return
    found = about(told["dataset"])
    root = told.get("root")
    if told["dataset"] == RENDERED or "root" not in told:
        return
    if root is None:
        yield f"the dataset {found.name} needs its folder, {found.needs}: give -p root=FOLDER"
    elif not Path(root).expanduser().exists():
        yield f"root {root}: no such folder or file; {found.name} needs {found.needs}"
    elif told.get("protocol") is not None:
        yield from missing_for_protocol(find_protocol(told["protocol"]), found.name, Path(root).expanduser())


def missing_for_protocol(protocol: Protocol, dataset: str, root: Path) -> Iterator[str]:
    if protocol.dataset != dataset:
        yield f"the protocol {protocol.name} is of the dataset {protocol.dataset}, not of {dataset}"
    elif dict(protocol.options).get("depth") == "projected" and next(root.rglob(f"*.{PROJECTED}.png"), None) is None:
        yield (
            f"root {root}: no file ends in .{PROJECTED}.png, and the protocol {protocol.name} compares with such "
            "depth: make it as the dataset's page says, or give -p protocol=null"
        )


def missing_gpu(step: Step, machine: Machine) -> Iterator[str]:
    if on_gpu(step, machine) and machine.gpu is None:
        device = step.all_parameters["device"]
        yield f"device {device}: torch finds no GPU here: give -p device=cpu, or go to a machine with one"


def on_gpu(step: Step, machine: Machine) -> bool:
    device = str(step.all_parameters.get("device", "cpu"))
    return machine.gpu is not None if device == "auto" else device.startswith("cuda")


@dataclass(frozen=True)
class Weights:
    """What is known of a model before it is loaded: its sizes (None where unknown), licence, and what is lacking."""

    config: VGGTConfig | None
    licence: str
    lack: str = ""
    download: float = 0.0  # bytes


def find_weights(name: str) -> Weights:
    """Asks no network."""
    config, licence, size = PUBLIC.get(name, (None, "its owners' own: read its card", 0.0))
    if name in shipped_models():
        licence = f"Apache-2.0, as fgq ({SHIPPED.name}/{name})"
    try:
        files = find_files(name, HubOptions(local_files_only=True))
        return Weights(outline(files)[0].config, licence)
    except FgqError as error:
        lack = str(error)
        if name in PUBLIC:
            lack = f"the weights are not in the hub's cache: agree to their licence, then hf download {name}"
        return Weights(config() if config else None, licence, f"{name}: {lack}", size)
