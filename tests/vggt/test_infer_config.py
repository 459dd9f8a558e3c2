import json
from pathlib import Path

import pytest

from fgq.errors import FgqError
from fgq.vggt import VGGT, VGGTConfig
from fgq.vggt.infer_config import SIZES, build_config, infer_sizes

DATA = Path(__file__).parents[1] / "data"


def shapes_of(model: VGGT) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def sizes_of(config: VGGTConfig) -> dict:
    return {name: getattr(config, name) for name in SIZES}


def refused(given: dict, shapes: dict) -> str:
    with pytest.raises(FgqError) as caught:
        build_config(given, shapes, "file")
    assert str(caught.value).startswith("file: ") and "\n" not in str(caught.value)
    return str(caught.value)


# The second is what a mixin writes that stores constructor arguments alone.
@pytest.mark.parametrize("given", [{}, {"img_size": 518, "patch_size": 14, "embed_dim": 1024, "enable_track": True}])
def test_sizes_of_the_public_checkpoint_are_inferred(given):
    shapes = {name: tuple(s) for name, s in json.loads((DATA / "vggt_1b_state_dict.json").read_text()).items()}
    assert sizes_of(build_config(given, shapes, "file")) == sizes_of(VGGTConfig())


def test_every_size_but_one_is_inferred(toy_model):
    truth = sizes_of(toy_model.config)
    del truth["dpt_layers"]  # no tensor tells it
    assert infer_sizes(shapes_of(toy_model)) == truth


def test_what_no_tensor_tells_comes_from_the_config(toy_model):
    config = build_config({"dpt_layers": [0, 1, 1, 1], "transformers_version": "5"}, shapes_of(toy_model), "file")
    assert sizes_of(config) == sizes_of(toy_model.config) | {"dpt_layers": [0, 1, 1, 1]}


def test_a_config_that_save_wrote_is_accepted_whole(toy_model):
    config = build_config(json.loads(toy_model.config.to_json_string()), shapes_of(toy_model), "file")
    assert config.to_dict() == toy_model.config.to_dict()


@pytest.mark.parametrize("name", [name for name in SIZES if name != "dpt_layers"])
def test_every_contradiction_names_both_sides(toy_model, name):
    told = getattr(toy_model.config, name)
    other = [told[0] + 1, *told[1:]] if isinstance(told, list) else told + 1
    said = refused({name: other}, shapes_of(toy_model))
    assert f"config.json says {name} {other}, but the tensors (" in said and f") say {told}: " in said


@pytest.mark.parametrize(
    "given, said",
    [
        ({"model_type": "bert"}, "type 'bert'"),
        ({"embed_dims": 16, "heads": 2}, "unknown fields (embed_dims, heads)"),
        ({"depth": "2"}, "depth '2', which is not a whole number"),
        ({"depth": None}, "depth None, which is not a whole number"),
        ({"depth": True}, "depth True, which is not a whole number"),
        ({"patch_size": [8]}, "patch_size [8], which is not a whole number"),
        ({"dpt_layers": 3}, "dpt_layers 3, which is not a list of 4 whole numbers"),
        ({"dpt_layers": [0, 1]}, "dpt_layers [0, 1], which is not a list of 4"),
        ({"dpt_layers": [0, 1, 1, 2]}, "dpt_layers [2] do not exist in a model of depth 2"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(toy_model, given, said):
    assert said in refused(given, shapes_of(toy_model))


def test_other_weights_are_refused():
    assert "holds 1 tensors but no aggregator.camera_token: not a VGGT's weights" in refused({}, {"weight": (1,)})


def test_a_size_that_nothing_tells_is_named(toy_model):
    shapes = shapes_of(toy_model)
    del shapes["aggregator.register_token"]
    assert "no tensor aggregator.register_token, which would tell num_register_tokens" in refused({}, shapes)
    assert build_config({"num_register_tokens": 2}, shapes, "file").num_register_tokens == 2


def test_a_gap_in_the_blocks_is_no_smaller_model(build_toy):
    model = build_toy(depth=3)
    shapes = {name: s for name, s in shapes_of(model).items() if "frame_blocks.1." not in name}
    assert build_config({}, shapes, "file").depth == 3
