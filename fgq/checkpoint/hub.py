"""A model's files from the Hugging Face hub, or from what is in its local cache."""

from dataclasses import dataclass
from pathlib import Path

from fgq.errors import FgqError

DESCRIPTIONS = ("config.json", "quantization.json")
# A repository may hold the same weights several times (safetensors and torch): the first kind that it has is fetched.
WEIGHT_PATTERNS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
    ("model.pt",),
    ("*.safetensors", "*.pt", "*.pth", "*.bin"),
)
SUBFOLDERS = "*/*"  # of other formats and optimiser states


@dataclass(frozen=True)
class HubOptions:
    """Which state of a repository, and where it may come from.

    The environment variables of huggingface_hub (HF_HOME, HF_HUB_OFFLINE, HF_TOKEN, …) hold as everywhere.
    """

    revision: str | None = None  # branch, tag or commit; the main branch where not given
    cache_dir: str | Path | None = None  # huggingface_hub's own where not given
    local_files_only: bool = False  # never ask the network: take what the cache holds


def is_hub_id(name: str, weight_suffixes: tuple[str, ...]) -> bool:
    owner, _, model = name.partition("/")
    is_path = "/" in model or name.startswith((".", "~")) or Path(name).suffix in (".safetensors", *weight_suffixes)
    return bool(owner and model) and not is_path


def fetch_snapshot(name: str, options: HubOptions) -> Path:
    """The folder of one revision in the local cache, holding weights; fetched unless they are there.

    Raises FgqError that gives the hub's reason, or says that the repository or the cache holds no weights.
    """
    from huggingface_hub import snapshot_download  # only here: everything else works without a network

    for patterns in WEIGHT_PATTERNS:
        try:
            folder = snapshot_download(
                name,
                revision=options.revision,
                cache_dir=options.cache_dir,
                local_files_only=options.local_files_only,
                allow_patterns=[*DESCRIPTIONS, *patterns],
                ignore_patterns=[SUBFOLDERS],
            )
        except Exception as error:  # the hub's own errors, the network library's and the operating system's
            reason = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
            which = f"{name} at revision {options.revision}" if options.revision else name
            raise FgqError(
                f"{which}: no such folder here, and the hub did not give it ({reason}): check the name, the network "
                "and, for a gated model, the login; or download it elsewhere and give the folder"
            ) from error
        if any(path.is_file() for pattern in patterns for path in Path(folder).glob(pattern)):
            return Path(folder)
    raise FgqError(
        f"{name}: {folder} holds no weights (looked for *.safetensors, *.pt and *.bin): check the name, or, without a "
        "network, fetch the whole model first"
    )
