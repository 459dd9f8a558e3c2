"""Rendered training batches, one a step, made ahead of time by a worker process."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fgq.data.playroom import render_scenes
from fgq.training.settings import TINY, TrainingSettings


class Batches(Dataset):
    """Batch k is a function of (settings, k) alone, so a resumed run sees what an unbroken one would."""

    def __init__(self, settings: TrainingSettings, start: int):
        self.settings, self.start = settings, start

    def __len__(self) -> int:
        return self.settings.steps - self.start

    def __getitem__(self, offset: int) -> dict[str, Tensor]:
        torch.set_num_threads(1)
        step, settings = self.start + offset, self.settings
        indices = range(step * settings.batch, (step + 1) * settings.batch)
        size = TINY["img_size"]
        return render_scenes(
            "train", list(indices), settings.clip_frames(step), (size, size), settings.seed, settings.motion(step)
        )


def stream(settings: TrainingSettings, start: int) -> DataLoader:
    return DataLoader(Batches(settings, start), batch_size=None, num_workers=1, prefetch_factor=6)
