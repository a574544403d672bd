"""docker/requirements.lock: one version and the hashes of each package that the images install, as pyproject wants."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

pytest.importorskip("tomllib", reason="docker/requirements.py needs Python 3.11, which the images have")

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "docker/requirements.lock").read_text()
MADE = runpy.run_path(str(ROOT / "docker/requirements.py"))
IMAGE = {"python_version": "3.12", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}


def pinned() -> dict[str, Version]:
    """Name to its one version, of what is installed on the image's Python."""
    found = {}
    for text, _ in MADE["entries"](LOCK).values():
        requirement = Requirement(text.split("\\")[0].split(" --hash")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate(IMAGE):
            (one,) = requirement.specifier
            assert one.operator == "==", text
            found[requirement.name.lower()] = Version(one.version)
    return found


def test_every_requirement_of_the_image_has_a_version_within_the_bounds_of_pyproject() -> None:
    versions = pinned()
    wanted = [Requirement(line) for line in MADE["requirements"](ROOT / "pyproject.toml", ["monitor", "formats"])]
    assert len(wanted) > 15
    for requirement in wanted:
        assert requirement.name.lower() in versions, f"{requirement.name} is not locked: run `make lock`"
        assert versions[requirement.name.lower()] in requirement.specifier, f"{requirement}: run `make lock`"


def test_nothing_is_locked_that_nothing_requires() -> None:
    entries = MADE["entries"](LOCK)
    wanted = {MADE["name_of"](line) for line in MADE["requirements"](ROOT / "pyproject.toml", ["monitor", "formats"])}
    for name, (_, whom) in entries.items():
        assert name in wanted or whom & set(entries), f"{name} is locked and required by nothing: run `make lock`"


def test_every_entry_has_hashes_and_the_file_names_no_host() -> None:
    for name, (text, _) in MADE["entries"](LOCK).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", text), name
    assert "://" not in LOCK
    assert "index" not in LOCK


def test_an_image_without_formats_leaves_out_what_only_they_need() -> None:
    every = MADE["locked"](LOCK, MADE["requirements"](ROOT / "pyproject.toml", ["monitor", "formats"]))
    fewer = MADE["locked"](LOCK, MADE["requirements"](ROOT / "pyproject.toml", ["monitor"]))
    left_out = {MADE["name_of"](text) for text in set(every) - set(fewer)}
    assert left_out == {"msgpack", "protobuf", "pyarrow"}
    assert {"pydantic-core", "h11", "anyio"} <= {MADE["name_of"](text) for text in fewer}, (
        "dependencies of dependencies"
    )
    assert len(every) == len(MADE["entries"](LOCK))


def test_a_requirement_that_is_not_locked_ends_the_build() -> None:
    with pytest.raises(SystemExit, match="no aiokafka: `make lock`"):
        MADE["locked"](LOCK, ["aiokafka>=0.10", "numpy"])


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_the_images_install_what_is_locked_and_check_the_hashes(name: str) -> None:
    text = (ROOT / "docker" / name).read_text()
    made, installed = re.search(r"^RUN python requirements\.py (.+?) \\\n && (.+)$", text, re.MULTILINE).groups()
    assert made == "${EXTRAS} --locked requirements.lock > requirements.txt"
    assert "--require-hashes -r requirements.txt" in installed
