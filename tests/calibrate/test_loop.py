import pytest
import torch

from fgq.calibrate.loop import rate_factor


@pytest.mark.parametrize("total, warmup", [(40, 16), (480, 16)])
def test_the_schedule_is_the_product_of_torchs_warmup_and_cosine(total, warmup):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([parameter], lr=0.5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total, eta_min=0.5e-3)
    theirs = []
    for _ in range(total):
        theirs.append(optimiser.param_groups[0]["lr"] / 0.5)
        optimiser.step()
        cosine.step()
    second = torch.optim.AdamW([parameter], lr=0.5)
    linear = torch.optim.lr_scheduler.LinearLR(second, start_factor=0.01, total_iters=warmup)
    for step in range(total):
        theirs[step] *= second.param_groups[0]["lr"] / 0.5
        second.step()
        linear.step()
    ours = [rate_factor(step, total, warmup) for step in range(total)]
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_without_warmup_the_first_step_has_the_full_rate():
    assert rate_factor(0, 10, 0) == 1
