"""Packed codes against a Python integer that holds a whole row, and against the library whose layout it is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgq.errors import FgqError
from fgq.quant.packing import PackedCodes, pack_codes, unpack_codes

WIDTHS = range(2, 9)


def codes_of(rows: int, width: int, bits: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (rows, width), generator=generator, dtype=torch.int8)


def pack_by_hand(row: list[int], bits: int) -> list[int]:
    """A row's words, as unsigned numbers."""
    whole = sum((code + 2 ** (bits - 1)) << (place * bits) for place, code in enumerate(row))
    return [(whole >> 32 * word) & 0xFFFFFFFF for word in range(-(-len(row) * bits // 32))]


def unsigned(words: torch.Tensor) -> list[list[int]]:
    return [[word & 0xFFFFFFFF for word in row] for row in words.tolist()]


def test_eight_nibbles_fill_a_word_the_lowest_first():
    codes = torch.tensor([[-8, -7, -1, 0, 1, 2, 3, 7]], dtype=torch.int8)
    assert unsigned(pack_codes(codes, 4)) == [[0xFBA98710]]


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_thousand_tensors_come_back_in_as_few_words_as_can_be(bits):
    sizes = torch.randint(1, 70, (1000, 2), generator=torch.Generator().manual_seed(bits)).tolist()
    for seed, (rows, width) in enumerate(sizes):
        codes = codes_of(rows, width, bits, seed)
        words = pack_codes(codes, bits)
        assert words.dtype == torch.int32 and words.shape == (rows, -(-width * bits // 32))
        assert torch.equal(unpack_codes(words, bits, width), codes)


@given(bits=st.sampled_from(WIDTHS), data=st.data())
def test_the_bits_of_a_row_are_one_long_number(bits, data):
    edge = 2 ** (bits - 1)
    row = data.draw(st.lists(st.integers(-edge, edge - 1), min_size=1, max_size=80))
    words = pack_codes(torch.tensor([row], dtype=torch.int8), bits)
    assert unsigned(words) == [pack_by_hand(row, bits)]
    assert unpack_codes(words, bits, len(row)).tolist() == [row]


@pytest.mark.parametrize("bits", WIDTHS)
def test_the_library_decodes_the_same_integers(bits):
    helpers = pytest.importorskip(
        "compressed_tensors.compressors.pack_quantized.helpers", reason="compressed-tensors is not installed"
    )
    for rows, width in ((1, 1), (3, 7), (5, 33), (16, 64), (2, 1000)):
        codes = codes_of(rows, width, bits)
        words = pack_codes(codes, bits)
        assert torch.equal(words, helpers.pack_to_int32(codes, bits))
        assert torch.equal(helpers.unpack_from_int32(words, bits, torch.Size([rows, width])), codes)


@pytest.mark.parametrize("bits", WIDTHS)
def test_some_rows_are_unpacked_alone(bits, monkeypatch):
    codes = codes_of(23, 50, bits)
    packed = PackedCodes(pack_codes(codes, bits), bits, 50)
    assert torch.equal(packed.codes(slice(3, 9)), codes[3:9]) and torch.equal(packed.codes(), codes)
    monkeypatch.setattr("fgq.quant.packing.AT_ONCE", 150)
    runs = list(packed.runs())
    assert len(runs) == 8 and torch.equal(torch.cat([packed.codes(rows) for rows in runs]), codes)


def test_codes_that_do_not_fit_are_refused():
    with pytest.raises(FgqError, match="codes from -1 to 4 do not fit 3 bits, which hold -4 to 3"):
        pack_codes(torch.tensor([[-1, 4]], dtype=torch.int8), 3)
    with pytest.raises(FgqError, match="codes from -5 to 0 do not fit 3 bits"):
        pack_codes(torch.tensor([[0, -5]], dtype=torch.int8), 3)
    for bits in (1, 9, 16):
        with pytest.raises(FgqError, match=f"codes of {bits} bits are not packed: choose 2 to 8"):
            pack_codes(torch.zeros(1, 8, dtype=torch.int8), bits)
    with pytest.raises(FgqError, match="2 words a row hold no 8 codes of 4 bits: 1 do"):
        unpack_codes(torch.zeros(1, 2, dtype=torch.int32), 4, 8)
