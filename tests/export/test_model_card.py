"""Cards of quantized models: what they say is what the folder and the report say, and the hub can read their header."""

import dataclasses

import pytest
from huggingface_hub import ModelCard

import fgq
from fgq.errors import FgqError
from fgq.export.model_card import model_card
from fgq.memory.info import Info

CLIPS = dict(count=2, frames=2, size=16)


@pytest.fixture
def base(toy_model, tmp_path):
    toy_model.save(tmp_path / "private" / "full")
    return fgq.load_model(tmp_path / "private" / "full")


@pytest.fixture
def save(base, tmp_path):
    def make(recipe="rtn", scenes=(), **options):
        small = fgq.quantize(base, scenes, recipe, progress=False, **options)
        small.save(tmp_path / "small", packed=True)
        return small, str(tmp_path / "small")

    return make


def test_a_card_says_how_the_model_was_made(base, save):
    scenes = fgq.load_scenes("playroom", split="calibration", **CLIPS)
    fisher = fgq.estimate_fisher(base, scenes, progress=False)
    _, name = save("fgq", scenes, fisher=fisher, epochs=1, weight_bits=3, seed=7)
    text = model_card(name)
    assert "# full, fgq, W3A4" in text and "| Seed | 7 |" in text
    assert "| Calibrated on | 2 scenes, playroom calibration |" in text
    assert "`weight_bits` 3" in text and "`epochs` 1" in text and "`learning_rate`" not in text  # which is as usual
    assert f"estimator `sum_of_outputs`, checksum `{fisher.origin()['checksum']}`" in text
    assert "private" not in text and 'fgq.load_model("small")' in text and "No report was given" in text
    stored = Info.open(name).stored()
    (row,) = [line for line in text.splitlines() if line.startswith("| all |")]
    assert float(row.split("|")[-2]) == pytest.approx(stored.loc["all", "of float32"], abs=5e-4)


def test_the_hub_reads_its_header_and_the_licence_follows_the_base(base, save):
    for source, licence, told, is_listed in (
        ("facebook/VGGT-1B", "cc-by-nc-4.0", "not for commercial use", True),
        ("vggt-tiny", "apache-2.0", "Apache-2.0, as the model", False),
        ("someone/else", "other", "That of someone/else, which its owners state", True),
    ):
        base.name_or_path = base.config.name_or_path = source
        _, name = save()
        text = model_card(name)
        header = ModelCard(text).data
        assert header.license == licence and told in text and header.library_name == "fgq"
        assert header.base_model == (source if is_listed else None) and "w4a4" in header.tags
        assert "| Calibrated on | no scenes |" in text


def test_a_report_gives_the_accuracy_if_it_is_the_model_s(base, save):
    small, name = save()
    test = fgq.load_scenes("playroom", split="test", **CLIPS)
    report = fgq.evaluate(small, test, progress=False)
    text = model_card(name, report)
    assert report.to_markdown() in text and "on scenes of playroom" in text
    other = dataclasses.replace(report, frame=report.frame.assign(recipe="gptq"))
    with pytest.raises(FgqError, match="has results of 'gptq', the model is of 'rtn': give its own"):
        model_card(name, other)


def test_what_was_not_quantized_here_has_no_card(base, tmp_path):
    with pytest.raises(FgqError, match="full: states no recipe; a card is for what fgq quantize made"):
        model_card(str(tmp_path / "private" / "full"))
