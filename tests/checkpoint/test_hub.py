"""The hub without a network: its cache in the real layout, and a stand-in for its uploads."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import fgq
from fgq.checkpoint.files import TORCH_SUFFIXES, find_files
from fgq.checkpoint.hub import HubOptions, is_hub_id
from fgq.errors import FgqError
from fgq.vggt import VGGT
from fgq.vggt.weights import fingerprint

NAME = "someone/some-model"
COMMITS = {"main": "1" * 40, "v2": "2" * 40}


def put_into_cache(cache: Path, folder: Path, revision: str = "main") -> None:
    """One snapshot as huggingface_hub keeps it: blobs by hash, links to them under the commit, a ref to the commit."""
    repository = cache / "models--someone--some-model"
    snapshot = repository / "snapshots" / COMMITS[revision]
    for place in (repository / "blobs", repository / "refs", snapshot):
        place.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        content = file.read_bytes()
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    (repository / "refs" / revision).write_text(COMMITS[revision])


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def refused(name: str, **options) -> str:
    with pytest.raises(FgqError) as caught:
        fgq.load_model(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Hub:
    """Stands in for the hub's interface: keeps what is committed, as a folder a repository."""

    def __init__(self, root: Path):
        self.root = root

    def create_repo(self, repo_id, **options):
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(repo_id=repo_id)

    def create_commit(self, repo_id, operations, **options):
        for operation in operations:
            with operation.as_file() as file:
                (self.root / repo_id / operation.path_in_repo).write_bytes(file.read())
        return "committed"


@pytest.fixture
def hub(tmp_path, monkeypatch, no_network) -> Hub:
    """Takes pushed repositories and puts nothing on any network."""
    fake = Hub(tmp_path / "hub")
    monkeypatch.setattr("transformers.utils.hub.hf_api", lambda: fake)
    monkeypatch.setattr(
        "transformers.utils.hub.create_and_tag_model_card", lambda *_, **__: SimpleNamespace(save=lambda path: None)
    )
    return fake


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_what_is_pushed_comes_back(toy_model, tmp_path, hub, shard):
    toy_model.push_to_hub(NAME, max_shard_size=shard)
    put_into_cache(tmp_path / "cache", hub.root / NAME)
    assert fingerprint(fgq.load_model(NAME, cache_dir=tmp_path / "cache")) == fingerprint(toy_model)
    again = VGGT.from_pretrained(NAME, cache_dir=tmp_path / "cache", local_files_only=True)
    assert fingerprint(again) == fingerprint(toy_model)


def test_a_quantized_model_is_pushed_with_all_it_needs(toy_model, tmp_path, hub):
    small = fgq.quantize(toy_model, recipe="rtn")
    small.push_to_hub(NAME)
    put_into_cache(tmp_path / "cache", hub.root / NAME)
    loaded = fgq.load_model(NAME, cache_dir=tmp_path / "cache")
    assert fingerprint(loaded) == fingerprint(small) and loaded.quantization == small.quantization
    again = VGGT.from_pretrained(NAME, cache_dir=tmp_path / "cache", local_files_only=True)
    assert fingerprint(again) == fingerprint(small) and again.quantization == small.quantization


def test_only_owner_and_model_make_a_hub_id():
    assert is_hub_id("facebook/VGGT-1B", TORCH_SUFFIXES) and is_hub_id("owner/model-1.5", TORCH_SUFFIXES)
    for name in ("vggt-tiny", "./model", "a/b/c", "/model", "owner/", "out/model.safetensors", "~/model", ".."):
        assert not is_hub_id(name, TORCH_SUFFIXES), name


@pytest.mark.parametrize("form", ["safetensors", "shards", "model.pt", "pytorch_model.bin", "other.pt"])
def test_every_form_of_repository_is_loaded_from_the_cache(toy_model, tmp_path, no_network, form):
    folder, cache = tmp_path / "repository", tmp_path / "cache"
    folder.mkdir()
    if form in ("safetensors", "shards"):
        toy_model.save_pretrained(folder, max_shard_size="20KB" if form == "shards" else "1GB")
    else:
        torch.save(toy_model.state_dict(), folder / form)
    put_into_cache(cache, folder)
    loaded = fgq.load_model(NAME, cache_dir=cache)
    assert fingerprint(loaded) == fingerprint(toy_model)


def test_revisions_are_kept_apart(build_toy, tmp_path):
    models = {revision: build_toy(seed) for seed, revision in enumerate(COMMITS)}
    for revision, model in models.items():
        model.save(tmp_path / revision)
        put_into_cache(tmp_path / "cache", tmp_path / revision, revision)
    options = {"cache_dir": tmp_path / "cache", "local_files_only": True}
    assert fingerprint(fgq.load_model(NAME, **options)) == fingerprint(models["main"])
    for revision in (*COMMITS, *COMMITS.values()):
        model = models[revision] if revision in models else models[{c: r for r, c in COMMITS.items()}[revision]]
        assert fingerprint(fgq.load_model(NAME, revision=revision, **options)) == fingerprint(model)
    assert refused(NAME, revision="v3", **options).startswith(f"{NAME} at revision v3: ")


def test_one_kind_of_weights_is_asked_for_at_a_time(toy_model, tmp_path, monkeypatch):
    """A repository may hold the same 5 GB as safetensors and as a torch file."""
    asked = []

    def snapshot_download(name, allow_patterns, **options):
        asked.append((name, allow_patterns, options))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    torch.save(toy_model.state_dict(), tmp_path / "model.pt")
    find_files(NAME, HubOptions(revision="v2", cache_dir="cache"))
    assert len(asked) == 3 and "model.pt" in asked[-1][1]
    toy_model.save(tmp_path)
    asked.clear()
    find_files(NAME, HubOptions(revision="v2", cache_dir="cache"))
    ((name, patterns, options),) = asked
    assert name == NAME and "config.json" in patterns and "model.pt" not in patterns
    assert (options["revision"], options["cache_dir"], options["local_files_only"]) == ("v2", "cache", False)


def test_a_hub_without_network_says_so_in_one_line(tmp_path, no_network):
    said = refused(NAME, cache_dir=tmp_path)
    assert said.startswith(f"{NAME}: no such folder here, and the hub did not give it (")


def test_a_cache_without_weights_says_so(tmp_path, no_network):
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "config.json").write_text("{}")
    put_into_cache(tmp_path / "cache", tmp_path / "repository")
    assert "holds no weights" in refused(NAME, cache_dir=tmp_path / "cache")


def test_a_truncated_blob_is_named(toy_model, tmp_path, no_network):
    toy_model.save(tmp_path / "repository")
    weights = tmp_path / "repository" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    put_into_cache(tmp_path / "cache", tmp_path / "repository")
    assert "model.safetensors: not a whole safetensors file" in refused(NAME, cache_dir=tmp_path / "cache")
