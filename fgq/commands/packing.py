"""Commands that make quantized models ready to be passed on: `fgq pack`, `fgq apply-delta` and `fgq card`."""

from pathlib import Path
from typing import Annotated

import typer

from fgq.errors import FgqError
from fgq.writing import check_file, whole_folder, write_text

GIGABYTE = 10**9
Out = Annotated[Path, typer.Option(help="new folder")]
ShardSize = Annotated[float, typer.Option(help="largest file in GB (10^9 bytes); more become several", min=1e-6)]
BASE_HELP = "full-precision model: a name, a folder or a file"


def pack(
    model: str,
    out: Out,
    base: Annotated[str | None, typer.Option(help=f"write only what this {BASE_HELP} does not have: a delta")] = None,
    shard_size: ShardSize = 4.0,
) -> None:
    """Write a quantized model with codes at their own width, 2 to 8 bits, in place of a byte each.

    With --base the result is a delta: it holds no tensor that the base holds too, and says by checksums which base it
    was made from.
    """
    from fgq.checkpoint import load_model, save_delta

    small = load_model(model)
    if getattr(small, "quantization", None) is None:
        raise FgqError(f"{model}: is not quantized, so there are no codes to pack: fgq quantize makes some")
    with whole_folder(out, "the packed model") as part:
        if base is None:
            small.save(part, packed=True, shard_bytes=int(shard_size * GIGABYTE))
        else:
            about = save_delta(small, base, part, shard_bytes=int(shard_size * GIGABYTE))
        size = sum(path.stat().st_size for path in part.iterdir())
    told = "packed model" if base is None else f"delta without {len(about.inherited)} tensors of {about.name}"
    typer.echo(f"{told}, {size / 1e6:.2f} MB: {out}")


def apply_delta(
    delta: Annotated[Path, typer.Argument(help="folder that `fgq pack --base` wrote")],
    base: Annotated[str, typer.Option(help=f"{BASE_HELP}; the very weights that the delta was made from")],
    out: Out,
    shard_size: ShardSize = 4.0,
) -> None:
    """Make a whole model of a delta and one's own download of its base."""
    from fgq.checkpoint import load_model

    whole = load_model(delta, base=base)
    with whole_folder(out, "the whole model") as part:
        whole.save(part, shard_bytes=int(shard_size * GIGABYTE))
    typer.echo(f"whole model: {out}")


def card(
    model: Annotated[Path, typer.Argument(help="folder of a quantized model")],
    report: Annotated[Path | None, typer.Option(help="table of `fgq evaluate`, for its accuracy")] = None,
    out: Annotated[Path | None, typer.Option(help="file; README.md in the model's folder where not given")] = None,
) -> None:
    """Write a model's card: what it was made of and how, its sizes, its accuracy, its licence; as the hub shows it."""
    from fgq.evaluation import Report
    from fgq.export.model_card import model_card

    out = check_file(out or model / "README.md")
    write_text(out, model_card(str(model), Report.load(report) if report else None))
    typer.echo(f"card: {out}")
