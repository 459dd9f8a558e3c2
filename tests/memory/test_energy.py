"""Meters of energy, on files and a library of our own."""

import ctypes

import pytest

from fgq.memory import energy
from fgq.memory.energy import Energy


def write_meter(root, name, label, joules, end=1000.0):
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{int(end * 1e6)}\n")


@pytest.fixture
def meters(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "gpus", lambda: {})
    return tmp_path


def test_a_package_counts_and_its_parts_are_in_it(meters):
    write_meter(meters, "intel-rapl:0", "package-0", 100.0)
    write_meter(meters, "intel-rapl:0:0", "core", 50.0)
    with Energy() as found:
        write_meter(meters, "intel-rapl:0", "package-0", 142.5)
    assert found.joules == {"CPU package-0": 42.5}


def test_a_counter_that_ran_over_is_unrolled(meters):
    write_meter(meters, "intel-rapl:0", "package-0", 990.0)
    with Energy() as found:
        write_meter(meters, "intel-rapl:0", "package-0", 5.0)
    assert found.joules == {"CPU package-0": 15.0}


def test_without_a_meter_nothing_is_claimed(meters):
    write_meter(meters, "intel-rapl:0", "package-0", 1.0)
    (meters / "intel-rapl:0" / "energy_uj").write_text("no number")
    with Energy() as found:
        pass
    assert found.joules == {}


class Library:
    """Stands for NVML with two GPUs, the second of which does not count."""

    def nvmlInit_v2(self):
        return 0

    def nvmlShutdown(self):
        return 0

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number, handle):
        handle._obj.value = number + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, counted):
        counted._obj.value = 7_000
        return 0 if handle.value == 1 else 3


def test_gpus_count_in_millijoules(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert energy.gpus() == {"GPU 0": 7.0}


def test_without_the_library_there_are_no_gpus(monkeypatch):
    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert energy.gpus() == {}
