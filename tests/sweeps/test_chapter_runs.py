"""Points that execute a run file publish nothing and bring the metrics of its reports."""

from fgq.provenance.record import read_json
from fgq.sweeps.execute import folder_of
from fgq.sweeps.sweep_file import read_sweep
from fgq.sweeps.table import results
from fgq.sweeps.worker import work

CHAPTER = """---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Measure

```{code-cell} ipython3
:tags: [parameters]

seed = 0
```

```{code-cell} ipython3
HEAD = "run,recipe,weight_bits,activation_bits,seed,dataset,scene,task,metric,value,unit,higher_is_better,valid_pixels"
line = f"x,rtn,4,4,{seed},made,s1,depth,depth_abs_rel,{seed}.5,ratio,False,9,0.1,"
open("found.csv", "w").write(f"{HEAD},seconds,note\\n{line}\\n")
```
"""


def test_a_run_file_with_other_parameters(tmp_path):
    book = tmp_path / "book"
    (book / "runs").mkdir(parents=True)
    (book / "measure.md").write_text(CHAPTER)
    (book / "runs" / "one.yaml").write_text("name: one\nchapters: [measure]\npublish: [found]\n")
    (tmp_path / "sweep.yaml").write_text("name: s\nrun: book/runs/one.yaml\ngrid: {seed: [3]}\n")
    sweep = read_sweep(tmp_path / "sweep.yaml")
    folder = folder_of(sweep, tmp_path / "out")
    assert work(sweep.kind, sweep.points, folder, "s", 0) == 0
    (row,) = results(sweep, folder).to_dict("records")
    assert (row["state"], row["seed"], row["metric"], row["value"], row["report"]) == (
        "done", 3, "depth_abs_rel", 3.5, "found.csv"
    )  # fmt: skip
    assert not (book / "results").exists(), "a sweep must not publish"
    place = folder.of(sweep.points[0]).root
    assert read_json(place / "run" / "provenance" / "measure.json")["parameters"] == {"seed": 3}
    assert row["peak_memory_bytes"] > 1e7 and row["device"].startswith("CPU")
