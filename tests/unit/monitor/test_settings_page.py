"""The table of settings: each key has a meaning, and each variable that it names is one that is read.

That the page is up to date is asked together with the other generated pages, in test_telemetry.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitor.config import load_as
from monitor.config.reference import PROCESSES, page
from monitor.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs"
FILES = {"run": CONFIGS / "monitor.yml", "ingest": CONFIGS / "ingest.yml"}
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.*?) \| (?:`(\w+)`)? \|$", re.MULTILINE)


def part_of(command: str) -> str:
    return page().split(f"## `ood-monitor {command}`\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("command", PROCESSES)
def test_every_key_of_every_section_has_a_row_with_its_meaning(command):
    rows = {}
    for section in part_of(command).split("\n### ")[1:]:
        rows[re.match(r"`(\w+)`", section)[1]] = ROW.findall(section)
    settings = PROCESSES[command].model_fields
    assert set(rows) == set(settings)
    for name, field in settings.items():
        if name != "models":  # a list, whose entries are described
            assert [key for key, *_ in rows[name]] == list(field.annotation.model_fields)
        for key, _kind, _default, meaning, _variable in rows[name]:
            assert len(meaning) > 5, f"{name}.{key} has no description"


@pytest.mark.parametrize("command", PROCESSES)
def test_every_variable_in_the_table_is_read_and_a_wrong_one_is_not(command):
    kind, variables = PROCESSES[command], [row[4] for row in ROW.findall(part_of(command)) if row[4]]
    assert len(variables) > 40

    def why_not(names):
        with pytest.raises(ConfigError) as refused:
            load_as(kind, FILES[command], dict.fromkeys(names, "\0"))
        return str(refused.value)

    assert "no setting has this name" not in why_not(variables)
    assert "no setting has this name" in why_not([*variables, f"{variables[0]}X"])


def test_units_bounds_choices_and_secrets_are_in_words():
    rows = {row[4]: row for row in ROW.findall(page())}
    assert rows["OOD_MONITOR__KAFKA__SESSION_TIMEOUT_MS"][1:3] == (
        "whole number of milliseconds, at least 100", "`45000`",
    )  # fmt: skip
    assert rows["OOD_MONITOR__ALERTS__CRITICAL_RATE"][1] == "number, more than 0, at most 1"
    assert rows["OOD_MONITOR__DEAD_LETTERS__AT_LIMIT"][1] == "`continue` or `stop`"
    assert rows["OOD_MONITOR__REDIS__PASSWORD"][1:3] == ("secret text", "empty")
    assert rows["OOD_INGEST__KAFKA__TOPIC"][2] == "must be given"
