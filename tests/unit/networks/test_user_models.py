"""A network from the user's own file or package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from line_plugin.errors import SettingsError
from line_plugin.networks import load_user_model
from line_plugin.networks.fingerprint import fingerprint

MODEL = """
from torch import nn
from my_parts_{tag} import width

class Net(nn.Sequential):
    pass

def make():
    return Net(nn.Flatten(), nn.Linear(width, 3))

ready = make()
def needs(width): return make()
def broken(): raise RuntimeError("no weights here")
def wrong(): return 3
number = 4
"""


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    tag = str(abs(hash(request.node.name)))
    (tmp_path / f"my_parts_{tag}.py").write_text("width = 12\n")
    (tmp_path / f"my_model_{tag}.py").write_text(MODEL.format(tag=tag))
    return tmp_path / f"my_model_{tag}.py"


def test_a_file_is_loaded_with_its_neighbours_and_leaves_the_path_as_it_was(folder: Path) -> None:
    path = list(sys.path)
    model = load_user_model(f"{folder}:make")
    assert not model.training
    assert len(list(model.parameters())) == 2
    assert sys.path == path


def test_a_module_level_network_is_taken_as_it_is(folder: Path) -> None:
    assert not load_user_model(f"{folder}:ready").training


def test_a_module_of_the_working_directory_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert len(list(load_user_model(f"{folder.stem}:make").parameters())) == 2


def test_the_fingerprint_sees_the_code_of_the_users_file(folder: Path) -> None:
    import torch

    torch.manual_seed(0)
    before = fingerprint(load_user_model(f"{folder}:make"))
    folder.write_text(folder.read_text().replace("    pass", "    changed = True"))
    torch.manual_seed(0)
    assert fingerprint(load_user_model(f"{folder}:make")) != before


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("mke", r"did you mean 'make'\?"),
        ("needs", r"failed with TypeError.*called without arguments"),
        ("broken", "failed with RuntimeError: no weights here"),
        ("wrong", "returned an object of type int, expected a torch nn.Module"),
        ("number", "is of type int, expected a function"),
    ],
)
def test_a_factory_that_gives_no_network_is_refused(folder: Path, factory: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load_user_model(f"{folder}:{factory}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["model.py", "model.py:", ":make", ""])
def test_a_name_of_another_form_is_refused_with_the_right_one(spec: str) -> None:
    with pytest.raises(SettingsError, match=r"expected path/to/file.py:factory or package.module:factory"):
        load_user_model(spec)


def test_a_missing_file_or_module_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"no file absent.py"):
        load_user_model("absent.py:make")
    with pytest.raises(SettingsError, match=r"no module 'absent_package.models'"):
        load_user_model("absent_package.models:make")


def test_an_error_inside_the_users_file_is_told_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken_one.py"
    broken.write_text("import absent_dependency\n")
    with pytest.raises(SettingsError, match=r"broken_one.py cannot be imported: ModuleNotFoundError: No module named"):
        load_user_model(f"{broken}:make")
    broken.write_text("def make(:\n")
    with pytest.raises(SettingsError, match=r"broken_one.py cannot be imported: SyntaxError"):
        load_user_model(f"{broken}:make")
