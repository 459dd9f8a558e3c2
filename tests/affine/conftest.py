"""`recorded`: blocks, transforms and clips of the reference implementation, from tests/data."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgq.affine import SITES, BlockSpec, LearnableBlock
from fgq.affine.kronecker import Kronecker
from fgq.affine.matrix import MatrixPair
from fgq.quant import Grid
from fgq.vggt.attention import Block
from fgq.vggt.rotary import RotaryTable

DATA = Path(__file__).parents[1] / "data"
RECORDED = load_file(DATA / "quantized_blocks.safetensors")
MODEL = load_file(DATA / "vggt_square.safetensors")
HEADS, DIM = 4, 32
PATHS = {2: "frame_blocks.1", 5: "global_blocks.2"}  # F0, G0, F1, G1, F2, G2
BITS = {"w4a4": (4, 4), "w4a8": (4, 8), "w8a8": (8, 8)}


class Golden:
    def __init__(self, bits: str, block: int):
        self.prefix = f"{bits}.block{block}."
        self.grids = Grid(BITS[bits][0]), Grid(BITS[bits][1], per="token")
        state = f"state.aggregator.{PATHS[block]}."
        self.block = Block(DIM, HEADS, qk_norm=True)
        weights = {name.removeprefix(state): value for name, value in MODEL.items() if name.startswith(state)}
        self.block.load_state_dict(weights)
        self.x = self["input"]
        self.rotary = RotaryTable(self["pos"][0], DIM // HEADS)

    def __getitem__(self, name: str) -> torch.Tensor:
        return RECORDED[self.prefix + name]

    def logits(self, projections: tuple[str, ...], kind: str) -> torch.Tensor:
        sides = [
            [self[f"{name}.{kind}_clip_{side}_logit"].flatten() for name in projections] for side in ("min", "max")
        ]
        return torch.stack([torch.cat(side) for side in sides], dim=1)

    def learnable(self) -> "RecordedBlock":
        return RecordedBlock(self)


class RecordedBlock(LearnableBlock):
    """A learnable block whose matrices and clips are the recorded ones."""

    def __init__(self, golden: Golden):
        super().__init__(golden.block, BlockSpec(*golden.grids, "kronecker", "learned"))
        self.golden = golden
        with torch.no_grad():
            for site in SITES:
                self.weight_clips[site.name].logits.copy_(golden.logits(site.projections, "weight"))
                self.input_clips[site.name].logits.copy_(golden.logits(site.projections, "act"))

    def matrices(self) -> dict[str, Kronecker]:
        def pair(name: str) -> MatrixPair:
            matrix = self.golden[name]
            return MatrixPair(matrix, torch.linalg.inv(matrix.double()).T.float())

        found = {
            name: Kronecker(pair(f"{name}.left"), pair(f"{name}.right"), self.golden[f"{name}.diag"])
            for name in ("attn_in", "fc1_in", "fc2_in")
        }
        found["attn_out"] = Kronecker(pair("attn_heads.matrix"), pair("attn_value.matrix"), None)
        return found


@pytest.fixture(scope="session")
def recorded():
    """recorded("w4a8", 5): one recorded block at some bits; read-only."""
    return Golden
