"""Muon for the backbone's weight matrices, AdamW for the rest, and the moving average of the weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fgq.training.settings import TrainingSettings
from fgq.vggt import VGGT
from fgq.vggt.attention import Block


def initialise(config, seed: int) -> VGGT:
    """A fresh model whose residual branches are open from the start.

    Released VGGT starts LayerScale at 0.01, which suits weeks of training; a run of an hour needs it near 1, with
    matrices scaled by their fan-in and the branches' last matrices by the depth.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VGGT(config)
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.7 * module.in_features**-0.5)
        blocks = [module for module in model.modules() if isinstance(module, Block)]
        for block in blocks:
            for matrix in (block.attn.proj.weight, block.mlp.fc2.weight):
                nn.init.trunc_normal_(matrix, std=0.7 * matrix.shape[1] ** -0.5 * len(blocks) ** -0.5)
            for scale in (block.ls1, block.ls2):
                nn.init.ones_(scale.gamma)
        nn.init.trunc_normal_(model.aggregator.camera_token, std=0.02)
        nn.init.trunc_normal_(model.aggregator.register_token, std=0.02)
    return model


def build_optimisers(model: VGGT, settings: TrainingSettings) -> list[torch.optim.Optimizer]:
    blocks = [module for module in model.aggregator.modules() if isinstance(module, Block)]
    matrices = [parameter for block in blocks for parameter in block.parameters() if parameter.ndim == 2]
    taken = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    decay = settings.weight_decay
    muon = torch.optim.Muon(
        matrices, lr=settings.matrix_rate, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(others, lr=settings.other_rate, weight_decay=decay, betas=(0.9, 0.98), fused=True)
    return [muon, adamw]


def average_of(model: VGGT, decay: float) -> AveragedModel:
    """An exponential moving average of the weights, which begins with the first step's."""

    def blend(average: list[Tensor], weights: list[Tensor], steps: Tensor) -> None:
        """Young averages forget faster, so that the first steps do not linger."""
        kept = min(decay, (int(steps) + 1) / (int(steps) + 10))
        torch._foreach_lerp_(average, weights, 1 - kept)

    return AveragedModel(model, multi_avg_fn=blend)
