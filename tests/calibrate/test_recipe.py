import json
import re
from pathlib import Path

import pytest

from fgq.calibrate import ORIGINS, RECIPES, Recipe, RecipeError, find_recipe
from fgq.errors import FgqError


def test_the_published_recipes_differ_only_where_the_papers_say():
    rtn, flatquant, fgq = (RECIPES[name].to_dict() for name in ("rtn", "flatquant", "fgq"))
    changed = {key: fgq[key] for key in fgq if fgq[key] != flatquant[key]}
    assert changed == {"name": "fgq", "weighting": "fisher", "estimator": "sum_of_outputs"}
    better = RECIPES["fgq+"].to_dict()
    changed = {key: better[key] for key in fgq if flatquant[key] != better[key]}
    assert changed == {"name": "fgq+", "rounding": "two_sided", "special_activation_bits": 8}
    changed = {key: flatquant[key] for key in rtn if rtn[key] != flatquant[key]}
    assert changed == {"name": "flatquant", "transforms": "kronecker", "clipping": "learned"}
    settings = {key: fgq[key] for key in ("epochs", "scenes_per_step", "learning_rate", "clip_rate_factor")}
    assert settings == {"epochs": 15, "scenes_per_step": 2, "learning_rate": 5e-3, "clip_rate_factor": 10}
    assert not RECIPES["rtn"].learns and RECIPES["fgq"].learns
    for name, change in (
        ("smoothquant", {"transforms": "diagonal"}),
        ("quarot", {"transforms": "rotation"}),
        ("gptq", {"rounding": "gptq"}),
        ("quantvggt", {"transforms": "rotation_smoothing", "scene_choice": "filtered_diverse"}),
    ):
        other = RECIPES[name].to_dict()
        assert {key: other[key] for key in rtn if rtn[key] != other[key]} == {"name": name} | change
        assert not RECIPES[name].learns
    assert [name for name, recipe in RECIPES.items() if not recipe.needs_scenes] == ["rtn", "quarot"]


@pytest.mark.parametrize("bits, special", [(3, 8), (4, 8), (6, 8), (8, None), (16, None)])
def test_special_tokens_of_a_named_recipe_never_have_fewer_bits_than_patches(bits, special):
    found = find_recipe("fgq+", 4, bits)
    assert (found.activation_bits, found.special_activation_bits) == (bits, special)
    assert find_recipe("fgq+", 4, bits, {"special_activation_bits": 8}).special_activation_bits == 8
    assert find_recipe(RECIPES["fgq+"], 4, bits).special_activation_bits == 8  # a value is taken at its word


@pytest.mark.parametrize(
    "deal", [{"operation_budget": 16.0}, {"layer_activation_bits": ((4, 8),) * 4}, {"block_weight_bits": (4, 4)}]
)
def test_a_deal_of_activation_bits_takes_the_place_of_a_named_recipe_s_own(deal):
    found = find_recipe("fgq+", overrides=deal)
    assert (found.special_activation_bits is None) == ("block_weight_bits" not in deal)


def test_bits_and_fields_can_be_replaced_by_name_or_value():
    changed = find_recipe("flatquant", 3, 8, {"epochs": 2, "learning_rate": 1})
    assert (changed.weight_bits, changed.activation_bits, changed.epochs, changed.learning_rate) == (3, 8, 2, 1)
    assert RECIPES["flatquant"].epochs == 15
    own = Recipe("mine", weight_bits=2, transforms="kronecker")
    assert find_recipe(own) == own
    assert find_recipe(own, activation_bits=8).activation_bits == 8


def test_nothing_learns_when_nothing_is_rounded():
    assert not find_recipe("fgq", 16, 16).learns
    assert find_recipe("fgq", 16, 4).learns


def test_a_recipe_survives_json():
    recipe = find_recipe("fgq", 3, 8, {"qkv_clip": "shared", "weight_symmetric": False})
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epoch": 3}, "no field epoch: choose from weight_bits"),
        (
            {"transforms": "turn"},
            "transforms 'turn' is unknown: choose none or diagonal or rotation or rotation_s",
        ),
        ({"weighting": "hessian"}, "weighting 'hessian' is unknown"),
        ({"estimator": "guess"}, "estimator 'guess' is unknown: choose sum_of_outputs"),
        ({"block_inputs": "noisy"}, "block_inputs 'noisy' is unknown"),
        ({"epochs": -1}, "epochs must be at least 0, not -1"),
        ({"start": "wush", "transforms": "none"}, "start 'wush' is for kronecker transforms, which 'none' are not"),
        ({"epochs": "3"}, "epochs must be of type int, not '3'"),
        ({"epochs": True}, "epochs must be of type int, not True"),
        ({"weight_symmetric": 1}, "weight_symmetric must be of type bool, not 1"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number"),
        ({"smooth_alpha": 1.5}, "smooth_alpha must lie between 0 and 1"),
        ({"weight_bits": 9}, "9 bits: choose 2 to 8, or 16"),
        ({"activation_bits": 1}, "1 bits: choose 2 to 8, or 16"),
        ({"weight_group": 0}, "a group of 0 values"),
        ({"activation_group": 2.5}, "activation_group must be of type"),
        ({"num_scenes": 0}, "num_scenes must be at least 1"),
        ({"clips": 3}, "no field clips: it is called num_scenes"),
        ({"scene_choice": "best"}, "scene_choice 'best' is unknown: choose all or filtered_diverse"),
    ],
)
def test_what_cannot_be_followed_is_one_clear_line(changes, message):
    with pytest.raises(FgqError, match=message) as error:
        find_recipe("fgq", overrides=changes)
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(
        RecipeError, match="'awq' is unknown: choose rtn, smoothquant, quarot, gptq, gptaq, guidedquant, b"
    ):
        find_recipe("awq")


def test_a_saved_recipe_with_another_field_is_refused():
    with pytest.raises(RecipeError, match="no field colour"):
        Recipe.from_dict(RECIPES["rtn"].to_dict() | {"colour": "red"})
    with pytest.raises(RecipeError, match="needs a name"):
        Recipe.from_dict({"epochs": 3})


def test_every_recipe_says_where_it_is_from_by_a_paper_of_the_book_s_list():
    assert ORIGINS.keys() == RECIPES.keys()
    known = (Path(__file__).parents[2] / "book" / "references.bib").read_text(encoding="utf-8")
    for source, told in ORIGINS.values():
        assert told and all(number in known for number in re.findall(r"arXiv:([0-9.]+)", f"{source} {told}"))
