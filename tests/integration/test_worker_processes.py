"""Processes of ``ood-monitor run`` on a broker and a Redis."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.cluster import differences, kill_at_random
from tests.monitor_support import small_panel
from tests.oracle.recount import recount_panel


@pytest.mark.quick
def test_one_worker_counts_a_topic_and_finishes_on_sigterm(cluster):
    c = cluster()
    c.publish(3000)
    worker = c.start_worker()
    c.wait_until_counted()
    assert c.store.totals() == c.recounted()
    assert sum(c.store.totals().values()) == 3000
    worker.terminate()
    assert worker.wait(15) == 0
    assert "the current batch is counted" in c.logs()
    assert "Traceback" not in c.logs()


def test_workers_killed_at_random_lose_nothing_and_count_nothing_twice(cluster):
    c = cluster()
    kill_at_random(c, kills=4, workers=2, seed=1)
    assert differences(c.store.totals(), c.recounted()) == (0, 0)
    assert sum(c.store.totals().values()) == c.sent


def test_a_panel_is_counted_for_each_expert_across_kills_and_its_alert_names_who_saw_the_surge(cluster):
    c = cluster()
    panel = small_panel()
    c.config["model"]["artifact"] = str(c.folder / "panel.safetensors")
    panel.save(c.config["model"]["artifact"])
    c.path.write_text(yaml.safe_dump(c.config))
    each = len(panel.evidence_calibrations)
    assert each == 2
    c.counted = lambda: sum(c.store.totals().values()) // each
    kill_at_random(c, kills=2, workers=2, seed=3)
    records = [(r.key, r.value) for r in c.records()]
    assert differences(c.store.totals(), recount_panel(panel, records)) == (0, 0)
    assert sum(c.store.totals().values()) == each * c.sent
    c.wait(lambda: [a for a in c.store.alerts() if a["kind"] == "ood"], 60)
    alert = next(a for a in c.store.alerts() if a["kind"] == "ood")
    assert alert["expert"] in panel.evidence_calibrations
    examples = json.loads(alert["examples"])
    assert examples
    assert {e["expert"] for e in examples} <= set(panel.settings.experts)
