import pytest
import torch

from fgq.errors import FgqError
from fgq.fisher.merge import block_weights, merge_tasks, weights_of_tasks

VALUES = torch.tensor([[[1.0, 3.0], [0.0, 4.0]], [[10.0, 10.0], [20.0, 0.0]]])  # task means 2 and 10


def test_tasks_are_divided_by_their_means_and_added():
    merged = merge_tasks(VALUES, torch.tensor([1.0, 1.0]))
    assert merged.tolist() == [[1.5, 2.5], [2.0, 2.0]]


def test_a_tasks_unit_does_not_matter():
    scaled = VALUES * torch.tensor([1.0, 1024.0]).view(2, 1, 1)
    assert torch.equal(merge_tasks(scaled, torch.ones(2)), merge_tasks(VALUES, torch.ones(2)))


def test_task_weights_are_applied():
    assert merge_tasks(VALUES, torch.tensor([2.0, 0.0])).tolist() == [[1.0, 3.0], [0.0, 4.0]]


def test_a_task_without_weight_may_be_zero():
    values = torch.stack([VALUES[0], torch.zeros(2, 2)])
    assert merge_tasks(values, torch.tensor([1.0, 0.0])).tolist() == [[0.5, 1.5], [0.0, 2.0]]


def test_blocks_are_normalised_and_floored():
    weights = block_weights(torch.tensor([[1.0, 3.0], [0.0, 4.0], [100.0, 100.0]]))
    torch.testing.assert_close(weights, torch.tensor([[0.5, 1.5], [0.01, 2.0], [1.0, 1.0]]))


def test_chosen_weights_follow_the_order_of_tasks():
    tasks = ("camera", "depth", "points")
    assert weights_of_tasks(tasks, None).tolist() == [1, 1, 1]
    assert weights_of_tasks(tasks, {"points": 2, "camera": 0.5}).tolist() == [0.5, 0, 2]


@pytest.mark.parametrize("chosen", [{"pose": 1.0}, {"camera": -1.0}, {"camera": 0.0}, {"camera": float("nan")}])
def test_bad_task_weights_are_refused(chosen):
    with pytest.raises(FgqError, match="task_weights"):
        weights_of_tasks(("camera", "depth"), chosen)
