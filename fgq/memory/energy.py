"""Energy that the machine's own meters count: of CPU packages (RAPL, Linux) and of NVIDIA's GPUs (NVML)."""

import ctypes
from contextlib import suppress
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
MICRO, MILLI = 1e-6, 1e-3
ABSENT = "not known: no meter can be read here (RAPL of the CPU, NVML of a GPU)"


class Energy:
    """A context that says, afterwards, in `joules` what each meter counted; empty where there is none.

    Meters count the whole machine, other programs included. A CPU's counter that ran over, once, is unrolled.
    """

    def __init__(self):
        self.joules: dict[str, float] = {}

    def __enter__(self) -> "Energy":
        self.before = read_meters()
        return self

    def __exit__(self, *_) -> None:
        after, ends = read_meters(), counter_ends()
        for name, value in self.before.items():
            if name in after:
                used = after[name] - value
                self.joules[name] = round(used + (ends.get(name, 0.0) if used < 0 else 0.0), 1)


def read_meters() -> dict[str, float]:
    """Joules since some moment in the past, by meter."""
    return {name: value for name, value in (*packages("energy_uj").items(), *gpus().items())}


def counter_ends() -> dict[str, float]:
    """Joules at which a CPU's counter starts again from zero."""
    return packages("max_energy_range_uj")


def packages(file: str) -> dict[str, float]:
    """By package; a part of one (a name with two numbers) is counted in it. Reading may need rights: then nothing."""
    found = {}
    for folder in sorted(POWERCAP.glob("intel-rapl:*")):
        if folder.name.count(":") == 1:
            with suppress(OSError, ValueError):
                name = (folder / "name").read_text().strip()
                found[f"CPU {name}"] = MICRO * int((folder / file).read_text())
    return found


def gpus() -> dict[str, float]:
    """By number; nothing without NVIDIA's library or for a GPU that does not count (before Volta)."""
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        return {}
    if library.nvmlInit_v2():
        return {}
    found, count = {}, ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for number in range(count.value):
        handle, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
        known = library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)) == 0
        if known and library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy)) == 0:
            found[f"GPU {number}"] = MILLI * energy.value
    library.nvmlShutdown()
    return found
