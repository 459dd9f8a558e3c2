"""A calibration that is stopped at any moment goes on to the same bits; a folder of another one is never touched."""

import errno
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from fgq import tensor_files
from fgq.calibrate import resume
from fgq.calibrate.calibrate import quantize
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.tensor_files import save_tensors
from fgq.vggt.weights import fingerprint
from fgq.writing import locked

pytestmark = pytest.mark.filterwarnings("ignore:.*so its start was kept")
QUICK = dict(epochs=2, warmup_steps=2, progress=False)


@pytest.fixture
def model(build_toy):
    return build_toy(embed_dim=32)


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(4)]


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("[!.]*")}


def forget(folder, *names):
    for name in names:
        (folder / f"{name}.safetensors").unlink()


class Stopped(Exception):
    """Stands for a process that ends here."""


@pytest.fixture
def stop_after(monkeypatch):
    """Makes the next calibration end when so many blocks have been kept."""

    def arrange(count):
        keep, kept = resume.FinishedBlocks.keep, []

        def keep_and_count(self, block, log):
            keep(self, block, log)
            kept.append(log.name)
            if len(kept) == count:
                raise Stopped

        monkeypatch.setattr(resume.FinishedBlocks, "keep", keep_and_count)
        return lambda: monkeypatch.setattr(resume.FinishedBlocks, "keep", keep)

    return arrange


@pytest.mark.parametrize(
    "changes",
    [{}, {"block_inputs": "quantized"}, {"rounding": "two_sided"}],
    ids=["published", "quantized", "two_sided"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_after_a_stop_the_same_call_ends_in_the_same_bits(model, scenes, tmp_path, stop_after, changes, dtype):
    options = dict(recipe="flatquant", **changes, **QUICK)
    model = model.to(dtype)
    whole = quantize(model, scenes, **options)
    go_on = stop_after(2)
    with pytest.raises(Stopped):
        quantize(model, scenes, resume_dir=tmp_path / "blocks", **options)
    go_on()
    before = contents(tmp_path / "blocks")
    assert set(before) == {"plan.json", "F0.safetensors", "G0.safetensors"}
    resumed = quantize(model, scenes, resume_dir=tmp_path / "blocks", **options)
    assert fingerprint(resumed) == fingerprint(whole)
    after = contents(tmp_path / "blocks")
    assert set(after) == set(before) | {"F1.safetensors", "G1.safetensors"}
    assert {name: after[name] for name in before} == before  # finished blocks were read, not made again
    logs = [[log.final_loss for log in small.quantization.blocks] for small in (whole, resumed)]
    assert logs[0] == logs[1]


def test_only_missing_blocks_are_calibrated(model, scenes, tmp_path, monkeypatch):
    whole = quantize(model, scenes, "flatquant", resume_dir=tmp_path, **QUICK)
    forget(tmp_path, "G0")
    done = []
    monkeypatch.setattr(resume.FinishedBlocks, "keep", lambda self, block, log: done.append(log.name))
    again = quantize(model, scenes, "flatquant", resume_dir=tmp_path, **QUICK)
    assert done == ["G0"] and fingerprint(again) == fingerprint(whole)
    assert again.quantization.blocks[0] == whole.quantization.blocks[0]  # its log too, with its seconds


def test_with_all_blocks_finished_nothing_is_computed(model, scenes, tmp_path, monkeypatch):
    whole = quantize(model, scenes, "flatquant", resume_dir=tmp_path, **QUICK)
    monkeypatch.setattr(type(model.aggregator), "embed", None)
    again = quantize(model, scenes, "flatquant", resume_dir=tmp_path, in_place=True, **QUICK)
    assert fingerprint(again) == fingerprint(whole) and again.quantization == whole.quantization


def test_bits_that_were_dealt_are_part_of_the_plan(model, scenes, tmp_path):
    from fgq.fisher import estimate_fisher

    fisher = estimate_fisher(model, scenes, progress=False)
    options = dict(recipe="rtn", bit_budget=4.0, fisher=fisher, resume_dir=tmp_path, progress=False)
    whole = quantize(model, scenes, **options)
    forget(tmp_path, "F0")
    assert fingerprint(quantize(model, scenes, **options)) == fingerprint(whole)
    kept = json.loads((tmp_path / "plan.json").read_text())["recipe"]["block_weight_bits"]
    assert [tuple(bits) for bits in kept] == list(whole.quantization.recipe.block_weight_bits)


@pytest.mark.parametrize(
    "change, named",
    [
        ("recipe", r"recipe's epochs \(2 there, 3 now\)"),
        ("bits", r"recipe's weight_bits \(4 there, 3 now\)"),
        ("seed", r"differs in seed \(0 there, 1 now\):"),
        ("threads", r"differs in threads \(\d there, \d now\):"),
        ("device", r"differs in device \('cpu with \w+' there, 'NVIDIA H100' now\):"),
        ("torch", r"differs in torch \('[\w.+]+' there, '1.0' now\):"),
        ("fgq", r"differs in fgq \('[\w.+]+' there, '1.0' now\):"),
        ("scenes", "differs in scenes:"),
        ("fewer scenes", "differs in scenes:"),
        ("model", "differs in model:"),
        ("fisher", "differs in fisher:"),
    ],
)
def test_another_calibration_is_named_and_nothing_overwritten(model, scenes, tmp_path, monkeypatch, change, named):
    weights = torch.ones(4, 32)
    options = dict(recipe="fgq", fisher=weights, seed=0, resume_dir=tmp_path) | QUICK
    quantize(model, scenes, **options)
    forget(tmp_path, "G1")
    before = contents(tmp_path)
    if change == "recipe":
        options["epochs"] = 3
    elif change == "bits":
        options["weight_bits"] = 3
    elif change == "seed":
        options["seed"] = 1
    elif change == "scenes":
        scenes[2].images[0, 0, 0, 0] += 0.25
    elif change == "fewer scenes":
        scenes = scenes[:2]
    elif change == "model":
        model.aggregator.global_blocks[1].mlp.fc2.bias.data[0] += 1e-3
    elif change == "threads":
        threads = torch.get_num_threads()
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    elif change == "device":
        monkeypatch.setattr(resume, "device_name", lambda device: "NVIDIA H100")
    elif change in ("torch", "fgq"):
        known = resume.version
        monkeypatch.setattr(resume, "version", lambda name: "1.0" if name == change else known(name))
    else:
        options["fisher"] = weights * 2
    with pytest.raises(FgqError, match=named) as refusal:
        quantize(model, scenes, **options)
    assert str(tmp_path) in str(refusal.value) and contents(tmp_path) == before


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm, named",
    [
        (flip_a_bit, r"G0.safetensors: tensor .* \(checksum\).*; remove it, and block G0 is calibrated again"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "G0.safetensors: not a whole .*; remove it"),
        (lambda path: path.write_bytes(b""), "G0.safetensors: not a whole .*; remove it"),
        (lambda path: shutil.copy(path.with_name("F1.safetensors"), path), "G0.safetensors: holds block F1"),
        (lambda path: save_tensors(path, {}, {"log": "[]"}), "G0.safetensors: cannot be read .*: remove it"),
        (lambda path: save_tensors(path, {}, {}), "G0.safetensors: cannot be read .*: remove it"),
        (lambda path: path.with_name("plan.json").write_text("{"), "plan.json: cannot be read"),
        (lambda path: path.with_name("plan.json").write_text("[" * 99_999), "plan.json: cannot be read"),
        (lambda path: path.with_name("plan.json").unlink(), "holds weights but no plan.json"),
    ],
)
def test_a_damaged_folder_is_named_and_left_alone(model, scenes, tmp_path, harm, named):
    quantize(model, scenes, "flatquant", resume_dir=tmp_path, **QUICK)
    forget(tmp_path, "G1")
    harm(tmp_path / "G0.safetensors")
    before = contents(tmp_path)
    with pytest.raises(FgqError, match=named):
        quantize(model, scenes, "flatquant", resume_dir=tmp_path, **QUICK)
    assert contents(tmp_path) == before


def test_a_full_disk_is_named_and_finished_blocks_are_kept(model, scenes, tmp_path, monkeypatch):
    write, written = tensor_files.write_tensors, []

    def full(path, tensors, metadata):
        written.append(path)
        if len(written) == 3:
            path.write_bytes(b"half a bl")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, tensors, metadata)

    monkeypatch.setattr(tensor_files, "write_tensors", full)
    with pytest.raises(FgqError, match="F1.safetensors: cannot write block F1 .*No space left.*free some space"):
        quantize(model, scenes, "flatquant", resume_dir=tmp_path, **QUICK)
    assert set(contents(tmp_path)) == {"plan.json", "F0.safetensors", "G0.safetensors"}
    resumed = quantize(model, scenes, "flatquant", resume_dir=tmp_path, **QUICK)
    assert fingerprint(resumed) == fingerprint(quantize(model, scenes, "flatquant", **QUICK))


def test_a_folder_in_use_is_refused_in_words(model, scenes, tmp_path):
    with locked(tmp_path / "blocks"), pytest.raises(FgqError, match="blocks: another calibration works in this folder"):
        quantize(model, scenes, "flatquant", resume_dir=tmp_path / "blocks", **QUICK)
    quantize(model, scenes, "flatquant", resume_dir=tmp_path / "blocks", **QUICK)


WHOLE_RUN = """
import sys, torch, fgq
from fgq.data.scene import Scene
torch.set_num_threads(1)
model = fgq.load_model(sys.argv[1])
generator = torch.Generator().manual_seed(5)
scenes = [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(4)]
options = dict(epochs=30, warmup_steps=2, progress=False, resume_dir=sys.argv[3])
fgq.quantize(model, scenes, "flatquant", in_place=True, **options).save(sys.argv[2])
"""


def test_killed_three_times_at_any_moment_it_still_ends_in_the_same_bits(model, tmp_path):
    model.save(tmp_path / "full")

    def start(out):
        blocks = tmp_path / f"{out}-blocks"
        arguments = [sys.executable, "-W", "ignore", "-c", WHOLE_RUN, tmp_path / "full", tmp_path / out, blocks]
        return blocks, subprocess.Popen(list(map(str, arguments)))

    _, process = start("whole")
    assert process.wait() == 0
    moments = random.Random(0)
    for finished in (0, 1, 3):  # killed a random moment after so many blocks were kept
        blocks, process = start("killed")
        while not (blocks / "plan.json").exists() or len(list(blocks.glob("*.safetensors"))) < finished:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, process = start("killed")
    assert process.wait() == 0
    whole, killed = (tmp_path / out / "model.safetensors" for out in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
