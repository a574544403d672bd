"""The short form of ``python -m tests.chaos``: real workers, one fault at a time, within four minutes together."""

from __future__ import annotations

import shutil

import pytest

from tests.chaos import report
from tests.chaos.__main__ import SHORT, run_one
from tests.chaos.faults import all_faults
from tests.chaos.scenario import Plan
from tests.chaos.stage import Servers
from tests.kafka.apache import why_not

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.skipif(shutil.which("prometheus-alertmanager") is None, reason="prometheus-alertmanager is missing"),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with Servers.started(tmp_path_factory.mktemp("chaos")) as started:
        yield started


@pytest.mark.parametrize("name", SHORT)
def test_no_promise_is_broken_by(servers, name, capsys):
    outcome = run_one(servers, all_faults()[name](), Plan(), seed=0, name=f"short-{name}")
    with capsys.disabled():
        print(f"\n{report.row(outcome)}")
    assert outcome.broken == []
