import torch
from torch.nn import functional

from fgq.vggt.dense_head import Fusion, add_positions

CHANNELS = 8


def test_positions_equal_the_embedding_written_pixel_by_pixel():
    rows, columns, aspect = 3, 5, 5 / 3
    added = add_positions(torch.zeros(1, CHANNELS, rows, columns), aspect)[0]
    diagonal = (aspect**2 + 1) ** 0.5
    for row in range(rows):
        for column in range(columns):
            x = aspect / diagonal * (2 * (column + 0.5) / columns - 1)
            y = 1 / diagonal * (2 * (row + 0.5) / rows - 1)
            frequencies = [100.0 ** (-i / (CHANNELS / 4)) for i in range(CHANNELS // 4)]
            angles = torch.tensor([[x * f for f in frequencies], [y * f for f in frequencies]])
            expected = 0.1 * torch.stack([angles.sin(), angles.cos()], dim=1).flatten()
            torch.testing.assert_close(added[:, row, column], expected)


def test_enlarging_last_equals_the_published_order():
    generator = torch.Generator().manual_seed(0)
    fusion = Fusion(CHANNELS, has_coarser=True)
    coarser, finer = (torch.randn(2, CHANNELS, 4, 6, generator=generator) for _ in range(2))

    def unit(module, x):
        x = x.clip(min=0)
        return x + module.conv2(module.conv1(x).clip(min=0))

    with torch.no_grad():
        total = coarser + unit(fusion.resConfUnit1, finer)
        enlarged = functional.interpolate(
            unit(fusion.resConfUnit2, total), size=(8, 11), mode="bilinear", align_corners=True
        )
        expected = fusion.out_conv(enlarged)
        torch.testing.assert_close(fusion(coarser, finer, (8, 11)), expected)
