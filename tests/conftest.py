"""What several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_VARIABLE = "OPENOOD_LINE_DATA"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, checkpoints and features, for tests that are marked ``real_data``."""
    named = os.environ.get(_VARIABLE)
    if named and not Path(named).is_dir():
        pytest.fail(f"{_VARIABLE}={named} is not a folder")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the measured data: name its folder in {_VARIABLE}")
    return folder
