"""Editions of the book for another model and other data: the shipped run files with their sizes turned down.

A random VGGT in the layout of VGGT-1B and miniature datasets in their public layouts go through every chapter, on the
CPU and without a network, and what the pages say must not be what is true of vggt-tiny alone.
"""

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest
from miniature import write_co3d, write_model, write_seven_scenes

ROOT = Path(__file__).parents[2]
EDITIONS = {"co3d": write_co3d, "7scenes": write_seven_scenes}
SMALL = dict(
    device="cpu",
    size=56,
    frames=2,
    test_scenes=2,
    calibration_clips=2,
    sweep=["W4A4", "W3A3"],
    settings=["W4A8"],
    seeds=[0, 1],
    workers=1,
    dampings=[0.1],
    fisher_clips=2,
    compared_clips=2,
    probes=2,
    repeats=2,
    clips=2,
    few_clips=1,
    perturbations=2,
    perturbed_seeds=[0],
    ablation_clips=2,
    ablation_epochs=1,
    ablation_blocks=["F0", "G1"],
    epochs=1,
    stress_clips=1,
    stress_scenes=2,
    exact_pixels=4,
    recipes=["rtn", "gptq"],
)
OF_TINY_ALONE = ("vggt-tiny", "playroom", "rendered room", "rooms of 4 frames")
OF_ALL = ("scaling", "glossary", "architecture")  # pages that speak of every edition, and of parameters


@pytest.mark.parametrize("name", EDITIONS)
def test_an_edition_runs_every_chapter_and_speaks_of_its_own_model_and_data(name, tmp_path):
    model, root, out = tmp_path / "random-vggt", tmp_path / "data", tmp_path / "out"
    exact = tmp_path / "smaller-vggt"  # whose whole Jacobian is computed
    write_model(model)
    write_model(exact, patch_size=2, img_size=6)
    EDITIONS[name](root)
    values = SMALL | {"model_name": str(model), "root": str(root), "exact_model": str(exact)}
    given = [part for key, value in values.items() for part in ("-p", f"{key}={value}")]
    run = ROOT / "book" / "runs" / f"vggt1b-{name}-w4a4.yaml"
    line = [sys.executable, "-m", "fgq", "run", str(run), "--out", str(out), "--build", *given]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    pages = {path.stem: seen(path) for path in (out / "book" / "_build" / "html" / "book").glob("*.html")}
    assert {"intro", "vggt", "fisher", "calibration", "evaluation", "ablations", "scaling"} <= pages.keys()
    told = [
        f"{page}: … {text[max(place - 80, 0) : place + 80]} …"
        for page, text in pages.items()
        for word in OF_TINY_ALONE
        for place in places(text, word)
        if page not in OF_ALL
    ]
    assert told == []
    assert all(model.name in text for page, text in pages.items() if page not in OF_ALL)


def seen(path: Path) -> str:
    """The text of a page, in one line."""
    body = path.read_text(encoding="utf-8")
    article = body[body.index("<article") : body.index("</article>")]
    article = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", article, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", article)).split())


def places(text: str, word: str) -> list[int]:
    return [found.start() for found in re.finditer(re.escape(word), text)]
