import re

import pytest
import torch
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

RENAMED = (
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
)


def to_transformers(encoder) -> Dinov2WithRegistersModel:
    """The same network in transformers' own implementation: an independent truth."""
    state = {}
    for name, tensor in encoder.state_dict().items():
        for ours, theirs in RENAMED:
            name = re.sub(ours, theirs, name)
        parts = zip("qkv", tensor.chunk(3), strict=True) if ".attn.qkv." in name else [("", tensor)]
        state |= {name.replace(".attn.qkv.", f".attention.{letter}_proj."): part for letter, part in parts}
    model = Dinov2WithRegistersModel(encoder_config(encoder)).eval()
    model.load_state_dict(state, strict=True)
    return model


def encoder_config(encoder) -> Dinov2WithRegistersConfig:
    return Dinov2WithRegistersConfig(
        hidden_size=encoder.pos_embed.shape[-1],
        num_hidden_layers=len(encoder.blocks),
        num_attention_heads=encoder.blocks[0].attn.num_heads,
        image_size=encoder.grid * encoder.patch_size,
        patch_size=encoder.patch_size,
        num_register_tokens=encoder.num_prefix - 1,
        mlp_ratio=4,
    )


@pytest.mark.parametrize("height, width", [(16, 16), (16, 40), (32, 8)])
def test_encoder_equals_transformers_dinov2(toy_model, relative_error, height, width):
    encoder = toy_model.aggregator.patch_embed
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        truth = to_transformers(encoder)(images).last_hidden_state[:, encoder.num_prefix :]
        assert relative_error(encoder(images), truth) <= 1e-6


def test_golden_encoder_equals_transformers_dinov2(golden, golden_model, relative_error):
    encoder = golden_model.aggregator.patch_embed
    images = golden["input.images"].flatten(0, 1)
    with torch.no_grad():
        truth = to_transformers(encoder)(images).last_hidden_state[:, encoder.num_prefix :]
        assert relative_error(encoder(images), truth) <= 1e-6
