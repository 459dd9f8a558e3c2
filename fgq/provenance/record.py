"""Where a result came from: code, versions, machine, parameters, seeds."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from fgq.provenance.source import PACKAGE, source_files, source_hash

DECIDING = ("torch", "transformers", "numpy")  # versions that can move a number


def version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def versions() -> dict[str, str]:
    """Of Python, of fgq and of all that it needs to compute."""
    needed = [Requirement(line) for line in requires("fgq") or []]
    names = [each.name for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    return {"python": platform.python_version()} | {name: version_of(name) for name in ["fgq", *names]}


def deciding_versions() -> dict[str, str]:
    return {name: version_of(name) for name in DECIDING}


def commit() -> str:
    """The checkout's commit, with "+changes" when tracked files differ from it; "unknown" outside a checkout."""

    def git(*arguments: str) -> str:
        # no optional locks: looking must not disturb someone who is committing
        command = ["git", "--no-optional-locks", *arguments]
        done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        # An installed package may lie inside an unrelated checkout, such as a virtual environment's.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != PACKAGE.parent.resolve():
            return "unknown"
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device() -> str:
    """What this process computed on: the GPUs in whose memory it has put something, or else the CPU."""
    import os  # here, because kernels get this function by its text
    import sys

    torch, used = sys.modules.get("torch"), []
    if torch and torch.cuda.is_initialized():
        stats = [torch.cuda.memory_stats(number) for number in range(torch.cuda.device_count())]
        used = [number for number, stat in enumerate(stats) if stat.get("allocation.all.allocated")]
    if used:
        return torch.cuda.get_device_name(used[0]) + (f", {len(used)} of them" if len(used) > 1 else "")
    return f"CPU, {os.cpu_count()} cores"


def gpu_peak_bytes() -> int | None:
    """The most that this process held on its GPUs at once, torch's tensors all together; None where it used none."""
    import sys  # here, because kernels get this function by its text

    torch = sys.modules.get("torch")
    if not (torch and torch.cuda.is_initialized()):
        return None
    return sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))


def provenance(parameters: dict, imported: list[str], computed_on: str) -> dict:
    """Plain values for JSON.

    commit, source_hash of all computing code, sources (fingerprint by file) of the modules that were `imported`,
    versions, platform, device, parameters, seeds (the parameters of that name), finished (UTC).
    """
    return {
        "commit": commit(),
        "source_hash": source_hash(),
        "sources": used(source_files(), imported),
        "versions": versions(),
        "platform": platform.platform(),
        "device": computed_on,
        "parameters": parameters,
        "seeds": {name: value for name, value in parameters.items() if name in ("seed", "seeds")},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def used(sources: dict[str, str], imported: list[str]) -> dict[str, str]:
    """The files of these modules, and all that are no modules, such as weights."""
    names = {name.replace(".", "/") for name in imported}
    files = {f"{name}.py" for name in names} | {f"{name}/__init__.py" for name in names}
    return {file: mark for file, mark in sources.items() if file in files or not file.endswith(".py")}


def read_json(path: Path) -> dict:
    """A mapping that `write_json` wrote; empty where there is nothing readable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
