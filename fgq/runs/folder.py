"""A run's folder, and which of its files belong to which chapter."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fgq import writing
from fgq.provenance.record import read_json
from fgq.runs.kernel import end_leftover

ENDS = 1 << 20  # bytes at either end of a file that its fingerprint looks at


@dataclass(frozen=True)
class RunFolder:
    """artefacts/ is the chapters' working directory, notebooks/ what was executed, provenance/ one JSON a chapter.

    frames/ has the frame list of everything that chapters loaded, which later attempts and chapters reuse.

    unfinished/ holds the partial notebook of a chapter that failed. A folder artefacts/NAME belongs to the chapter of
    that name as its own store: it is left alone when the chapter runs again, with whatever parameters.
    """

    root: Path

    @property
    def artefacts(self) -> Path:
        return self.root / "artefacts"

    def notebook(self, chapter: str) -> Path:
        return self.root / "notebooks" / f"{chapter}.ipynb"

    @property
    def frames(self) -> Path:
        return self.root / "frames"

    def record(self, chapter: str) -> Path:
        return self.root / "provenance" / f"{chapter}.json"

    def partial(self, chapter: str) -> Path:
        return self.root / "unfinished" / f"{chapter}.ipynb"

    def attempt(self, chapter: str) -> Path:
        return self.root / "unfinished" / f"{chapter}.json"

    @property
    def kernel(self) -> Path:
        """What the kernel of a running chapter needs; there is none between chapters."""
        return self.root / ".kernel"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else works here inside, not even what a killed run left. Raises FgqError when another run does."""
        with writing.locked(self.root, "another run"):
            end_leftover(self.kernel)
            for stale in self.root.rglob(f".*{writing.PART}"):  # of a writer that was killed
                stale.unlink(missing_ok=True)
            self.artefacts.mkdir(exist_ok=True)
            yield

    def snapshot(self) -> dict[str, list[int]]:
        """Time of change and size of every artefact, by its path inside artefacts/."""
        files = (file for file in self.artefacts.rglob("*") if file.is_file())
        stats = {file.relative_to(self.artefacts).as_posix(): file.stat() for file in files}
        return {name: [stat.st_mtime_ns, stat.st_size] for name, stat in sorted(stats.items())}

    def fingerprint(self, name: str) -> str:
        """Size and both ends of an artefact; the same after copying the folder."""
        path = self.artefacts / name
        size = path.stat().st_size
        with path.open("rb") as stream:
            digest = hashlib.sha256(stream.read(ENDS))
            stream.seek(max(0, size - ENDS))
            digest.update(stream.read(ENDS))
        return f"{size}-{digest.hexdigest()[:32]}"

    def why_outdated(self, chapter: str, key: str) -> str | None:
        """In words, or None when the chapter has finished with this key and all it made is there."""
        record = read_json(self.record(chapter))
        if not record or not self.notebook(chapter).is_file():
            return "not yet run"
        if record.get("key") != key:
            return "its code, parameters, the module, versions or a chapter before it changed"
        if not isinstance(record.get("artefacts"), dict):
            return "its record is broken"
        for name, fingerprint in record["artefacts"].items():
            if not (self.artefacts / name).is_file():
                return f"its artefact {name} is gone"
            if self.fingerprint(name) != fingerprint:
                return f"its artefact {name} was changed"
        return None

    def begin(self, chapter: str) -> dict[str, list[int]]:
        """Notes what is there before a chapter starts; a first attempt's note outlives a kill and further attempts."""
        now = self.snapshot()
        if not read_json(self.attempt(chapter)):
            writing.write_json(self.attempt(chapter), {"before": now})
        return now

    def finish(self, chapter: str, before: dict[str, list[int]], inputs: Iterable[str] = ()) -> dict[str, str]:
        """Fingerprints of what the chapter wrote. What only its earlier runs or attempts wrote is removed.

        Otherwise a later chapter that reads a whole folder would mix results of two settings. `inputs` are files that
        the run put among the artefacts, in any attempt: no chapter's leftovers.
        """
        first = read_json(self.attempt(chapter)).get("before", before)
        now = self.snapshot()
        written = {name for name, stat in now.items() if before.get(name) != stat}
        attempted = {name for name, stat in now.items() if first.get(name) != stat}
        recorded = {
            record.stem: read_json(record).get("artefacts", {}) for record in self.root.glob("provenance/*.json")
        }
        others = {name for other, names in recorded.items() if other != chapter for name in names}
        outdated = (attempted | set(recorded.get(chapter, ()))) - written - others - set(inputs)
        for name in self.without_store(chapter, outdated):
            (self.artefacts / name).unlink(missing_ok=True)
        return {name: self.fingerprint(name) for name in sorted(self.without_store(chapter, written))}

    def without_store(self, chapter: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if not name.startswith(f"{chapter}/")]
