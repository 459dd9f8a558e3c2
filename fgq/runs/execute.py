"""Runs a run file: one chapter after another in one folder, skipping what is up to date, keeping what was done."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fgq.data.frozen import VARIABLE, frozen_hashes, now
from fgq.errors import FgqError
from fgq.runs.folder import RunFolder
from fgq.runs.kernel import PeakMemory, this_interpreter
from fgq.runs.notebook import execute_notebook, renew
from fgq.runs.provenance import deciding_versions, provenance, read_json
from fgq.runs.replay import FOLDER as REPLAYS
from fgq.runs.replay import differences, short_run
from fgq.runs.results import check_published, publish
from fgq.runs.runfile import RunFile, Step
from fgq.runs.source import SHOWN, file_hash, source_hash, text_hash
from fgq.writing import whole_file, write_json


def execute(
    run: RunFile,
    out: Path,
    force: bool = False,
    cell_seconds: int | None = None,
    report: Callable[[str], None] = print,
    only: str | None = None,
) -> RunFolder:
    """Executes what is not up to date; what had finished before an error or a kill is kept and not run again.

    A chapter is up to date when its code, its parameters, the module with its weights, the versions and the chapters
    it needs are what they were, and its artefacts are there. `only` names a chapter to run, with what it needs; with
    `force` that one chapter, or all, run in any case. Raises FgqError when the chapter's code raised one (bad input),
    else RunFailure.
    """
    folder = RunFolder(out.resolve())
    keys = find_keys(run)
    chosen = needed_by(run, only) if only else {step.chapter.name for step in run.steps}
    forced = {only} if only else chosen
    with folder.locked():
        if run.replay:
            replay_first(run, folder.root, report)
        for number, step in enumerate(run.steps, start=1):
            name = step.chapter.name
            if name not in chosen:
                continue
            label = f"[{number}/{len(run.steps)}] {name}"
            reason = folder.why_outdated(name, keys[name])
            if reason is None and force and name in forced:
                reason = "asked to run again"
            if reason is None and not renew(step.chapter, folder.notebook(name)):
                reason = "its notebook is damaged"
            if reason is None:
                report(f"{label}: up to date")
            else:
                report(f"{label}: running ({reason})")
                record = execute_step(run, step, folder, keys[name], label, cell_seconds)
                report(f"{label}: {record['seconds']:.0f} s, peak memory {record['peak_memory_bytes'] / 1e9:.1f} GB")
            publish(run, folder.artefacts, read_json(folder.record(name)))
        if not only:
            check_published(run, folder.artefacts)
    return folder


def replay_first(run: RunFile, out: Path, report: Callable[[str], None]) -> None:
    """Makes the short run and leaves its tables in artefacts/replay, where chapters can tell by them which numbers
    they may take up again. Tables that agree with those of an earlier start stay as they are."""
    report("first in short, to know later whether the code still computes the same")
    made = execute(short_run(run), out / REPLAYS, report=report)
    kept = out / "artefacts" / REPLAYS
    for name in run.publish:
        fresh, before = made.artefacts / f"{name}.csv", kept / f"{name}.csv"
        if not fresh.is_file():
            raise FgqError(f"{run.path}: in short, no chapter wrote {name}.csv, which the run file publishes")
        if before.is_file() and not differences(pd.read_csv(before), pd.read_csv(fresh), run.replay):
            continue
        with whole_file(before) as part:
            shutil.copyfile(fresh, part)


def find_keys(run: RunFile) -> dict[str, str]:
    """For every chapter a hash of all that decides what it shows, chapters that it needs included."""
    base = [source_hash(SHOWN), deciding_versions()]
    keys: dict[str, str] = {}
    for step in run.steps:
        before = [keys[need] for need in step.needs]
        files = [run.book / name for name in step.reads]
        reads = [file_hash(file) if file.is_file() else "absent" for file in files]
        content = [base, before, reads, step.chapter.code_hash, step.all_parameters]
        keys[step.chapter.name] = text_hash(json.dumps(content, sort_keys=True, default=str))
    return keys


def needed_by(run: RunFile, chapter: str) -> set[str]:
    """The chapter and all that it needs, and they need."""
    return {chapter}.union(*(needed_by(run, need) for need in run.step(chapter).needs))


def provide(run: RunFile, step: Step, folder: RunFolder) -> None:
    """Copies what the chapter reads from the book's folder to where it runs, under the same name."""
    for name in step.reads:
        if not (run.book / name).is_file():
            raise FgqError(f"{run.path}: chapter {step.chapter.name} reads {name}, but there is no {run.book / name}")
        with whole_file(folder.artefacts / name) as part:
            shutil.copyfile(run.book / name, part)


def execute_step(run: RunFile, step: Step, folder: RunFolder, key: str, label: str, cell_seconds: int | None) -> dict:
    """Executes a chapter beside its old notebook, which it replaces at the end; returns the record."""
    name = step.chapter.name
    provide(run, step, folder)
    before = folder.begin(name)
    started, loaded_since = time.perf_counter(), now()
    environment = {VARIABLE: str(folder.frames)}
    with this_interpreter(folder.kernel, environment) as connection, PeakMemory() as memory:
        device, imported = execute_notebook(
            step.chapter, step.parameters, folder.partial(name), folder.artefacts, label, connection, cell_seconds
        )
    seconds = time.perf_counter() - started
    renew(step.chapter, folder.partial(name))
    artefacts = folder.finish(name, before, {file for other in run.steps for file in other.reads})
    folder.record(name).unlink(missing_ok=True)  # a kill before the new one must not leave it beside the new notebook
    folder.notebook(name).parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder.partial(name), folder.notebook(name))
    record = provenance(step.all_parameters, imported=imported, computed_on=device) | {
        "run": run.path.name,
        "chapter": name,
        "needs": {need: run.step(need).all_parameters for need in sorted(needed_by(run, name) - {name})},
        "code_hash": step.chapter.code_hash,
        "key": key,
        "seconds": round(seconds, 1),
        "peak_memory_bytes": memory.peak,
        "frame_lists": frozen_hashes(folder.frames, loaded_since),
        "artefacts": artefacts,
    }
    write_json(folder.record(name), record)
    folder.attempt(name).unlink(missing_ok=True)
    return record
