import mmap
import sys

import pytest
import torch

from fgq.memory.peak import PeakBytes

MEGABYTE = 10**6  # the kernel counts pages in batches, so up to one of these may be missing
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' peak")


def take_and_give_back(megabytes: int) -> None:
    """Writes to pages of the system: what a heap keeps after `free` depends on all that the process did before."""
    with mmap.mmap(-1, megabytes * MEGABYTE) as pages:
        for _ in range(megabytes):
            pages.write(b"1" * MEGABYTE)


def test_what_was_taken_and_given_back_counts():
    with PeakBytes() as peak:
        take_and_give_back(60)
        take_and_give_back(40)
    assert 59 * MEGABYTE <= peak.bytes < 80 * MEGABYTE and peak.seconds > 0


def test_what_was_there_before_does_not_count():
    before = torch.ones(100 * MEGABYTE // 4)
    with PeakBytes() as peak:
        torch.ones(30 * MEGABYTE // 4).sum()
    assert 29 * MEGABYTE <= peak.bytes < 50 * MEGABYTE and len(before)


def test_an_earlier_and_higher_peak_is_forgotten():
    torch.ones(150 * MEGABYTE // 4).sum()
    with PeakBytes() as peak:
        torch.ones(20 * MEGABYTE // 4).sum()
    assert 19 * MEGABYTE <= peak.bytes < 40 * MEGABYTE
