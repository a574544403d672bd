"""What several test folders share."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_VARIABLE = "OPENOOD_LINE_DATA"
_SLOW = ("integration", "deploy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for processes are slow by themselves, but for those marked ``quick``.

    These are the tests that start workers by the fixture ``cluster``, and all that lie in the folders of ``_SLOW``.

    Files with many slow tests come first: if several processes share the files out, none of them is left alone with a
    long one at the end.
    """
    for item in items:
        waits = "cluster" in getattr(item, "fixturenames", ()) or item.path.parent.name in _SLOW
        if waits and item.get_closest_marker("quick") is None:
            item.add_marker(pytest.mark.slow)
    cost: Counter[Path] = Counter()
    for item in items:
        cost[item.path] += 20 if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -cost[item.path])


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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for the pages of one test file.

    Not of the whole session: while Playwright runs, its event loop counts as running in this thread, and
    ``asyncio.run`` of a later test file would be refused.
    """
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        yield opened
        opened.close()
