import pytest

from fgq.errors import FgqError
from fgq.quant import BitMap, Bits


@pytest.mark.parametrize("weight, activation", [(4, 4), (2, 16), (16, 3), (8, 8)])
def test_bits_know_both_ways(weight, activation):
    bits = Bits(weight, activation)
    assert bits == Bits(f"W{weight}A{activation}") == Bits(bits) and str(bits) == f"W{weight}A{activation}"
    assert tuple(bits) == (weight, activation) and len({bits, Bits(str(bits))}) == 1


@pytest.mark.parametrize("special", [2, 8, 16])
def test_bits_of_special_tokens_know_both_ways_too(special):
    bits = Bits(4, 6, special)
    assert bits == Bits(f"W4A6S{special}") == Bits(bits) != Bits(4, 6) and str(bits) == f"W4A6S{special}"
    assert BitMap(**bits.fields).bits == bits and Bits("W4A6").special is None
    with pytest.raises(FgqError, match=rf"W4A6S{special} are more than two numbers: pass them on as \*\*Bits"):
        _, _ = bits  # would lose the third
    assert BitMap(activation_bits=16, special_activation_bits=special).rounds_activations == (special < 16)


@pytest.mark.parametrize(
    "text", ["W4", "4A4", "w4a4", "W4A4 ", "W4A9", "W1A4", "W04A4x", "", "W4A4S", "W4A4S9", "W4S8A4"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(FgqError, match="bits"):
        Bits(text)


def test_a_block_s_own_bits_stand_for_all():
    told = BitMap(weight_bits=4, activation_bits=8, block_weight_bits=(3, (2, 4, 6, 16)), bit_budget=4.0)
    assert told.bits == Bits("W4A8") and told.of_block(0).bits == Bits("W3A8")
    assert told.of_block(1).layer_weight_bits == (2, 4, 6, 16) and not told.of_block(1).deals_bits
    assert BitMap(bit_budget=4.0).deals_bits and not told.deals_bits
    assert (
        not BitMap(weight_bits=16).rounds_weights
        and BitMap(weight_bits=16, layer_weight_bits=(16, 3, 16, 16)).rounds_weights
    )
