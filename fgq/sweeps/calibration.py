"""Points that quantize a model by a recipe and measure it, through the public verbs."""

import inspect
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path

import torch

import fgq
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.recipes import RECIPES, find_recipe
from fgq.checkpoint.files import TORCH_SUFFIXES, find_files
from fgq.checkpoint.hub import is_hub_id
from fgq.data import LoadedScenes, about, dataset_names, find_dataset
from fgq.data.frozen import VARIABLE
from fgq.data.protocols import find_protocol
from fgq.errors import FgqError
from fgq.evaluation import FAST_CLOUDS, FULL_CLOUDS, predict
from fgq.provenance.record import deciding_versions, device
from fgq.provenance.source import source_hash, text_hash
from fgq.quant import Bits
from fgq.runs.needs import missing_for_protocol
from fgq.runs.parameters import check_names, check_values
from fgq.sweeps.kind import Outcome, Values
from fgq.vggt import VGGT

# As in the chapters, where a name stands there too. None is the dataset's own choice.
DEFAULTS = {
    "model_name": "vggt-tiny",
    "device": "auto",
    "dtype": "float32",
    "dataset": "playroom",
    "root": None,
    "size": None,
    "frames": None,
    "calibration_split": "calibration",
    "test_split": "test",
    "calibration_clips": 64,
    "test_scenes": None,
    "protocol": None,  # test_split's own rule
    "recipe": "fgq",
    "setting": "W4A4",
    "seed": 0,
    "clouds": None,  # as the protocol says, fast without one
}
PLAYROOM_TEST = {"count": 128, "seed": 0}  # the same scenes whatever the seed of the calibration
CLOUDS = {None: None, "fast": FAST_CLOUDS, "full": FULL_CLOUDS}
OF_SETTING = {"name", "weight_bits", "activation_bits"}
RECIPE_FIELDS = [each.name for each in fields(Recipe) if each.name not in OF_SETTING]


@dataclass(frozen=True)
class Calibration:
    """Parameters are those of DEFAULTS, and every field of a recipe by its own name, such as rounding or num_scenes."""

    spec: dict = field(default_factory=dict)

    def check_names(self, values: Values, where: str) -> None:
        check_names([*DEFAULTS, *RECIPE_FIELDS], values, where)

    def check(self, values: Values, where: str) -> None:
        given = {name: value for name, value in values.items() if (name, value) != ("test_scenes", None)}
        check_values([*DEFAULTS, *RECIPE_FIELDS], given, where)
        whole = self.complete(values)
        check_choice("recipe", whole["recipe"], RECIPES, where)
        if whole["clouds"] is not None:
            check_choice("clouds", whole["clouds"], list(filter(None, CLOUDS)), where)
        check_choice("dataset", whole["dataset"], dataset_names(), where)
        if whole["setting"] == "auto":
            raise FgqError(f"{where}: parameter 'setting' is 'auto', which chapters alone have: write it as W4A8")
        try:
            recipe_of(whole)
            for split in (whole["calibration_split"], whole["test_split"]):
                about(whole["dataset"]).check_split(split)
        except FgqError as error:
            raise FgqError(f"{where}: {error}") from error
        known = inspect.signature(find_dataset(whole["dataset"])).parameters
        for name in ("root", "size", "frames"):
            if whole[name] is not None and name not in known:
                raise FgqError(f"{where}: parameter {name!r}: the dataset {whole['dataset']} has no such option")
        if whole["protocol"] is not None and find_protocol(whole["protocol"]).dataset != whole["dataset"]:
            raise FgqError(f"{where}: the protocol {whole['protocol']} is not of the dataset {whole['dataset']}")
        if "root" in known and whole["root"] is None:
            raise FgqError(f"{where}: parameter 'root': the dataset {whole['dataset']} needs its folder")

    def check_here(self, values: Values) -> None:
        if not is_hub_id(values["model_name"], TORCH_SUFFIXES):
            find_files(values["model_name"])
        root = None if values["root"] is None else Path(values["root"]).expanduser()
        if root is not None and not root.exists():
            raise FgqError(f"parameter 'root' is {values['root']!r}: there is no such folder")
        if values["protocol"] is not None:
            for lack in missing_for_protocol(find_protocol(values["protocol"]), values["dataset"], root):
                raise FgqError(lack)

    def complete(self, values: Values) -> Values:
        return DEFAULTS | values

    def identity(self, values: Values) -> object:
        return values

    def compute(self, values: Values, folder: Path, shared: Path) -> Outcome:
        with frozen_frames(shared / "frames"):
            return calibrate_and_measure(values, folder, shared)


def calibrate_and_measure(values: Values, folder: Path, shared: Path) -> Outcome:
    recipe, seed = recipe_of(values), values["seed"]
    model = fgq.load_model(values["model_name"], device=values["device"], dtype=values["dtype"])
    own = PLAYROOM_TEST if values["dataset"] == "playroom" else {}
    by_rule = {**own, "split": values["test_split"]} if values["protocol"] is None else {"protocol": values["protocol"]}
    test = scenes_of(model, values, {**by_rule, **count_of(values["test_scenes"])})
    full = predict(model, test, progress=False)
    began, clips, fisher = time.perf_counter(), [], None
    if recipe.needs_scenes or recipe.weighting == "fisher":
        choice = {"split": values["calibration_split"], "seed": seed, **count_of(values["calibration_clips"])}
        clips = scenes_of(model, values, choice)
    if recipe.weighting == "fisher" or recipe.deals_bits:
        estimator = recipe.estimator or "sum_of_outputs"
        options = {"cache_dir": shared / "fisher", "progress": False}  # bits do not change it, nor what else differs
        fisher = fgq.estimate_fisher(model, clips, estimator, seed=seed, **options)
    unfinished = folder / "unfinished" / circumstances()
    options = {"in_place": True, "progress": False, "resume_dir": unfinished if clips else None}
    small = fgq.quantize(model, clips, recipe=recipe, fisher=fisher, seed=seed, **options)
    calibrated = time.perf_counter()
    report = fgq.evaluate(small, test, reference=full, progress=False, clouds=CLOUDS[values["clouds"]])
    report.save(folder / "report.csv")
    shutil.rmtree(folder / "unfinished", ignore_errors=True)
    seconds = {"calibration_seconds": calibrated - began, "evaluation_seconds": time.perf_counter() - calibrated}
    warned = sum(log.warning is not None for log in small.quantization.blocks)
    told = {name: round(value, 2) for name, value in seconds.items()} | {"warned_blocks": warned}
    return Outcome(report.summary().rename(columns={"mean": "value"}), told)


def recipe_of(values: Values) -> Recipe:
    bits = {name: value for name, value in Bits(values["setting"]).fields.items() if value is not None}
    return find_recipe(values["recipe"], overrides=bits | {n: values[n] for n in RECIPE_FIELDS if n in values})


def scenes_of(model: VGGT, values: Values, choice: Values) -> LoadedScenes:
    """Pictures from disk are brought to the model's size and patches unless told; a protocol has its own size."""
    given = {name: values[name] for name in ("root", "size", "frames") if values[name] is not None}
    known = inspect.signature(find_dataset(values["dataset"])).parameters
    if "patch_size" in known:
        usual = {} if "protocol" in choice else {"size": model.config.img_size}
        given = usual | {"patch_size": model.config.patch_size} | given
    choice = {name: value for name, value in choice.items() if name in known or name == "protocol"}
    return fgq.load_scenes(values["dataset"], **given, **choice)


def count_of(number: int | None) -> Values:
    return {} if number is None else {"count": number}


def circumstances() -> str:
    """Of what finished blocks may be taken up again: `fgq.quantize` refuses others."""
    told = [device(), torch.cuda.is_available(), torch.get_num_threads(), deciding_versions(), source_hash()]
    return text_hash(str(told))[:16]


def check_choice(name: str, value: object, known, where: str) -> None:
    if not isinstance(value, str) or value not in known:
        near = get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(known)}"
        raise FgqError(f"{where}: parameter {name!r} is {value!r}: {hint}")


@contextmanager
def frozen_frames(folder: Path) -> Iterator[None]:
    """Inside, the frames of everything that is loaded are those that other points have loaded."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
