import pytest
import torch

from fgq.affine.sites import SITES, linear_of
from fgq.errors import FgqError
from fgq.quant import Grid, output_matrix
from fgq.quant.output_matrix import InBlocks, LowRank, stored_bytes
from fgq.quant.two_sided import round_two_sided, two_sided_loss
from fgq.vggt import VGGTConfig
from fgq.vggt.attention import Block


def problem(out=12, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, g = (torch.randn(60, size, generator=generator) for size in (width, out))
    g = g @ torch.randn(out, out, generator=generator)
    return torch.randn(out, width, generator=generator), x.T @ x, g.T @ g


def test_blocks_are_rounded_as_if_each_were_alone():
    weight, inputs, outputs = problem()
    found = round_two_sided(weight, inputs, InBlocks.of(outputs, 4), Grid(3), block=3)[0]
    for rows in (slice(0, 4), slice(4, 8), slice(8, 12)):
        assert torch.equal(found[rows], round_two_sided(weight[rows], inputs, outputs[rows, rows], Grid(3))[0])


def test_a_low_rank_and_a_diagonal_round_like_the_matrix_that_they_stand_for():
    weight, inputs, outputs = problem()
    short = LowRank.of(outputs, 3)
    whole = short.basis @ short.basis.T + torch.diag(short.diagonal)
    for block in (1, 5, 32):
        found = round_two_sided(weight, inputs, short, Grid(3), block=block)[0]
        assert torch.equal(found, round_two_sided(weight, inputs, whole, Grid(3))[0])
    torch.testing.assert_close(whole.diagonal(), outputs.diagonal())
    torch.testing.assert_close(two_sided_loss(weight, inputs, short), two_sided_loss(weight, inputs, whole))


def test_forms_that_leave_nothing_out_give_the_same_codes():
    weight, inputs, outputs = problem()
    expected = round_two_sided(weight, inputs, outputs, Grid(3))[0]
    for form in (InBlocks.of(outputs, 12), LowRank.of(outputs, 12)):
        assert torch.equal(round_two_sided(weight, inputs, form, Grid(3))[0], expected)


def test_an_output_without_any_say_is_nothing_special_in_a_low_rank():
    weight, inputs, outputs = problem()
    outputs[5, :] = outputs[:, 5] = 0
    expected = round_two_sided(weight, inputs, outputs, Grid(3))[0]
    assert torch.equal(round_two_sided(weight, inputs, LowRank.of(outputs, 11), Grid(3))[0], expected)
    blocks = InBlocks.of(outputs, 1)  # one of which is all zero
    assert round_two_sided(weight, inputs, blocks, Grid(3))[0].shape == weight.shape


def test_the_stated_memory_is_that_of_the_public_size():
    config = VGGTConfig()
    with torch.device("meta"):
        block = Block(config.embed_dim, config.num_heads)
    rows = [linear_of(block, site).out_features for site in SITES]

    def mebibytes(*layers, **form):
        return f"{sum(stored_bytes(layer, **form) for layer in layers) / 2**20:.1f}"

    said = " ".join(output_matrix.__doc__.split())
    fc1 = [mebibytes(max(rows), **form) for form in ({}, {"size": 256}, {"rank": 64})]
    all_four = [mebibytes(*rows, **form) for form in ({}, {"size": 256}, {"rank": 64})]
    assert f"{fc1[0]} MiB whole, {fc1[1]} MiB in blocks of 256 rows, {fc1[2]} MiB with 64 directions" in said
    assert f"blocks {all_four[0]}, {all_four[1]} and {all_four[2]} MiB" in said


def test_bytes_are_those_of_the_tensors():
    outputs = problem()[2]
    short = LowRank.of(outputs, 3)
    assert stored_bytes(12) == InBlocks(outputs[None]).blocks.nbytes
    assert stored_bytes(12, size=4) == InBlocks.of(outputs, 4).blocks.nbytes
    assert stored_bytes(12, rank=3) == short.basis.nbytes + short.diagonal.nbytes


def test_forms_that_do_not_fit_are_refused():
    outputs = problem()[2]
    with pytest.raises(FgqError, match="blocks of 5 rows do not divide 12"):
        InBlocks.of(outputs, 5)
    with pytest.raises(FgqError, match="choose 1 to 12"):
        LowRank.of(outputs, 13)
    with pytest.raises(FgqError, match="raise output_damping"):
        LowRank(torch.ones(3, 1), torch.tensor([0.0, 0.0, -1.0])).followers(0.1)
