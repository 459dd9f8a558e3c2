"""Runs a run file: one chapter after another in one folder, skipping what is up to date, keeping what was done.

And says, by fingerprints and where these differ by a short run, whether a table that a run published is up to date.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fgq.data.frozen import VARIABLE, frozen_hashes, now
from fgq.errors import FgqError, RunFailure
from fgq.memory.energy import ABSENT, Energy
from fgq.memory.peak import PeakOfChildren
from fgq.provenance.record import deciding_versions, provenance, read_json
from fgq.provenance.results import FOLDER as RESULTS
from fgq.provenance.results import REPLAYS, changed_sources, differences, find_result, save_result
from fgq.provenance.source import SHOWN, file_hash, source_hash, text_hash
from fgq.runs.folder import RunFolder
from fgq.runs.kernel import this_interpreter
from fgq.runs.notebook import execute_notebook, renew
from fgq.runs.runfile import RunFile, Step, read_run_file
from fgq.writing import settle, whole_file, write_json


def execute(
    run: RunFile,
    out: Path,
    force: bool = False,
    cell_seconds: int | None = None,
    report: Callable[[str], None] = print,
    only: str | None = None,
    first: str | None = None,
) -> RunFolder:
    """Executes what is not up to date; what had finished before an error or a kill is kept and not run again.

    A chapter is up to date when its code, its parameters, the module with its weights, the versions and the chapters
    it needs are what they were, and its artefacts are there. `only` names a chapter to run, with what it needs, `first`
    one to run with all after it, and what they need; with `force` those that were asked for run in any case.

    What fails does not keep others from running but those that need it. In the end its error is raised: FgqError when
    the chapter's code raised one (bad input), else RunFailure.
    """
    folder = RunFolder(out.resolve())
    keys, asked = find_keys(run), asked_for(run, only, first)
    chosen = set().union(*(needed_by(run, name) for name in asked))
    failed: dict[str, FgqError | RunFailure] = {}
    with folder.locked():
        if run.replay:
            replay_first(run, folder.root, report)
        for number, step in enumerate(run.steps, start=1):
            name = step.chapter.name
            label = f"[{number}/{len(run.steps)}] {name}"
            missing = [need for need in step.needs if need in failed]
            if name not in chosen:
                continue
            if missing:
                failed[name] = failed[missing[0]]
                report(f"{label}: left out, as it needs {missing[0]}")
                continue
            try:
                bring_up_to_date(run, step, folder, keys[name], force and name in asked, label, cell_seconds, report)
            except (FgqError, RunFailure) as error:
                failed[name] = error
                report(f"{label}: failed: {error}; what it had made is in {folder.artefacts}")
        if failed:
            raise told_together(failed, folder.artefacts)
        if not (only or first):
            check_published(run, folder.artefacts)
    return folder


def told_together(failed: dict[str, FgqError | RunFailure], artefacts: Path) -> FgqError | RunFailure:
    """The first error, with where its artefacts are and which other chapters did not finish."""
    first = next(iter(failed.values()))
    more = f"; not finished either: {', '.join(list(failed)[1:])}" if len(failed) > 1 else ""
    return type(first)(f"{first}; artefacts: {artefacts}{more}")


def bring_up_to_date(
    run: RunFile,
    step: Step,
    folder: RunFolder,
    key: str,
    in_any_case: bool,
    label: str,
    cell_seconds: int | None,
    report: Callable[[str], None],
) -> None:
    """Runs a chapter unless it is up to date, and publishes what it made."""
    name = step.chapter.name
    reason = folder.why_outdated(name, key) or ("asked to run again" if in_any_case else None)
    if not reason and not renew(step.chapter, folder.notebook(name)):
        reason = "its notebook is damaged"
    if reason:
        report(f"{label}: running ({reason})")
        record = execute_step(run, step, folder, key, label, cell_seconds)
        report(f"{label}: {record['seconds']:.0f} s, peak memory {record['peak_memory_bytes'] / 1e9:.1f} GB")
    else:
        report(f"{label}: up to date")
    publish(run, folder.artefacts, read_json(folder.record(name)))


def asked_for(run: RunFile, only: str | None, first: str | None) -> set[str]:
    """Chapters by name. Raises FgqError for one that the run does not have."""
    names = [step.chapter.name for step in run.steps]
    if only:
        return {run.step(only).chapter.name}
    return set(names[names.index(run.step(first).chapter.name) :] if first else names)


def replay_first(run: RunFile, out: Path, report: Callable[[str], None]) -> None:
    """Makes the short run and leaves its tables in artefacts/replay, where chapters can tell by them which numbers
    they may take up again. Tables that agree with those of an earlier start stay as they are."""
    report("first in short, to know later whether the code still computes the same")
    for fresh, before, differing in short_run(run, out / REPLAYS, out / "artefacts" / REPLAYS, report):
        if differing:
            copy(fresh, before)


def short_run(run: RunFile, out: Path, earlier: Path, report: Callable[[str], None]) -> list[tuple]:
    """Makes the short run in `out`: each table that the run publishes, its earlier one, and what differs in it."""
    artefacts = execute(run.in_short(), out, report=report).artefacts
    check_published(run, artefacts)
    found = []
    for fresh, before in ((artefacts / f"{name}.csv", earlier / f"{name}.csv") for name in run.publish):
        differing = [f"{before}: no table of the short run is stored"]
        if before.is_file():
            differing = differences(pd.read_csv(before), pd.read_csv(fresh), run.replay)
        found.append((fresh, before, differing))
    return found


def publish(run: RunFile, artefacts: Path, record: dict) -> None:
    """Copies the run's published tables that a chapter wrote, by its record, to the book's results."""
    for name in run.publish:
        if f"{name}.csv" in record.get("artefacts", {}):
            about = {field: value for field, value in record.items() if field not in ("artefacts", "key")}
            save_result(run.book, name, (artefacts / f"{name}.csv").read_text(encoding="utf-8"), about)
            if run.replay:
                copy(artefacts / REPLAYS / f"{name}.csv", run.book / RESULTS / REPLAYS / f"{name}.csv")


def check_published(run: RunFile, artefacts: Path) -> None:
    """Raises FgqError when a table that the run file publishes was written by no chapter."""
    for name in run.publish:
        if not (artefacts / f"{name}.csv").is_file():
            raise FgqError(f"{artefacts}: no chapter wrote {name}.csv, which {run.path} publishes")


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
        copy(run.book / name, folder.artefacts / name)


def copy(source: Path, target: Path) -> None:
    with whole_file(target) as part:
        shutil.copyfile(source, part)


def execute_step(run: RunFile, step: Step, folder: RunFolder, key: str, label: str, cell_seconds: int | None) -> dict:
    """Executes a chapter beside its old notebook, which it replaces at the end; returns the record."""
    name = step.chapter.name
    provide(run, step, folder)
    before = folder.begin(name)
    loaded_since = now()
    environment = {VARIABLE: str(folder.frames)}
    with this_interpreter(folder.kernel, environment) as connection, PeakOfChildren() as peak, Energy() as energy:
        executed = execute_notebook(
            step.chapter, step.parameters, folder.partial(name), folder.artefacts, label, connection, cell_seconds
        )
    renew(step.chapter, folder.partial(name))
    artefacts = folder.finish(name, before, {file for other in run.steps for file in other.reads})
    folder.record(name).unlink(missing_ok=True)  # a kill before the new one must not leave it beside the new notebook
    folder.notebook(name).parent.mkdir(parents=True, exist_ok=True)
    settle(folder.partial(name), folder.notebook(name))
    record = provenance(step.all_parameters, imported=executed.imported, computed_on=executed.device) | {
        "run": run.path.name,
        "chapter": name,
        "needs": {need: run.step(need).all_parameters for need in sorted(needed_by(run, name) - {name})},
        "code_hash": step.chapter.code_hash,
        "key": key,
        "seconds": round(peak.seconds, 1),
        "peak_memory_bytes": peak.bytes,
        "peak_gpu_bytes": executed.gpu_bytes,
        "energy_joules": energy.joules or ABSENT,
        "cells": executed.cells,
        "frame_lists": frozen_hashes(folder.frames, loaded_since),
        "artefacts": artefacts,
    }
    write_json(folder.record(name), record)
    folder.attempt(name).unlink(missing_ok=True)
    return record


def outdated(book: Path, name: str, scratch: Path | None = None, report: Callable[[str], None] = print) -> list[str]:
    """Reasons why a published table no longer follows from code and parameters; empty when it does.

    Fingerprints are compared of the table, of the module's computing code with the weights (file by file), of the
    chapter's code cells, its parameters and those of the chapters it needs. Where only code differs and the run file
    has a replay, it is made in the folder `scratch`, if there is one, and the reasons are the numbers that it gives
    differently.
    """
    table, record = find_result(book, name)
    told = [] if text_hash(table.read_text(encoding="utf-8")) == record["table_hash"] else [f"{table.name} was edited"]
    code = changed_sources(record)
    try:
        run = read_run_file(book / "runs" / record["run"])
    except FgqError as error:
        return [*told, *code, str(error)]
    steps = {step.chapter.name: step for step in run.steps}
    for chapter, parameters in ({record["chapter"]: record["parameters"]} | record["needs"]).items():
        if chapter not in steps or steps[chapter].all_parameters != parameters:
            told.append(f"the parameters of chapter {chapter} in {record['run']} changed")
    made_by = steps.get(record["chapter"])
    if made_by and made_by.chapter.code_hash != record["code_hash"]:
        code.append(f"the code of chapter {record['chapter']} changed")
    if scratch and run.replay and code and not told:
        stored = short_run(run, scratch, book / RESULTS / REPLAYS, report)
        return [reason for _, _, differing in stored for reason in differing]
    return told + code
