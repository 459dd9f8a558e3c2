import pytest

from fgq.checkpoint.files import SHIPPED, find_files
from fgq.errors import FgqError


def refused(path) -> str:
    with pytest.raises(FgqError) as caught:
        find_files(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_that_is_nothing_lists_what_could_be_meant(tmp_path):
    assert "no such file or folder" in refused(tmp_path / "none")


def test_a_shipped_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vggt-tiny").mkdir()
    assert find_files("vggt-tiny").weights[0].parent == SHIPPED / "vggt-tiny"
    assert "holds no weights" in refused("./vggt-tiny")


def test_several_weight_files_need_a_choice(tmp_path):
    for name in ("a.pt", "b.bin", "c.safetensors", "d.safetensors"):
        (tmp_path / name).touch()
    assert "holds 2 weight files" in refused(tmp_path)
    assert find_files(tmp_path / "a.pt").weights == (tmp_path / "a.pt",)
    (tmp_path / "d.safetensors").unlink()
    assert find_files(tmp_path).weights == (tmp_path / "c.safetensors",)
    (tmp_path / "pytorch_model.bin").touch()
    assert find_files(tmp_path).weights == (tmp_path / "pytorch_model.bin",)
    (tmp_path / "model.safetensors").touch()
    assert find_files(tmp_path).weights == (tmp_path / "model.safetensors",)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "holds no weights" in refused(tmp_path)


@pytest.mark.parametrize("path", ["~nosuchuser/model", "n" * 300])
def test_a_path_that_the_system_refuses_is_one_line(path):
    assert "cannot be read" in refused(path)
