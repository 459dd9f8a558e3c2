import pytest
import torch

from fgq.vggt.token_kinds import kind_slices, special_rows


@pytest.mark.parametrize("frames, num_tokens, num_special", [(1, 9, 3), (4, 9, 3), (2, 1041, 5), (3, 1, 1)])
def test_special_tokens_lead_every_frame(frames, num_tokens, num_special):
    kinds = torch.zeros(frames, num_tokens, dtype=torch.long)
    for number, rows in enumerate(kind_slices(num_special).values()):
        kinds[:, rows] = number
    expected = (kinds.flatten() < 2).nonzero()[:, 0]
    assert torch.equal(special_rows(frames, num_tokens, num_special), expected)
