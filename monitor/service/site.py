"""Puts together what a process serves over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from monitor.config import MonitorConfig, Redactor, secrets_of, show_url
from monitor.config.urls import SecretUrl
from monitor.messages.record import Partition
from monitor.service.assembly import open_store
from monitor.service.progress import Progress
from monitor.service.serving import Serving

if TYPE_CHECKING:
    from monitor.alerts.delivery import Delivery
    from monitor.counting.models import Models
    from monitor.counting.worker import Worker
    from monitor.judging.evaluator import Evaluator
    from monitor.service.telemetry import Telemetry
    from monitor.sources.protocol import Source


def open_site(
    config: MonitorConfig,
    models: Models,
    *,
    telemetry: Telemetry,
    worker: Worker,
    source: Source,
    evaluator: Evaluator,
    delivery: Delivery,
    progress: Progress,
) -> Serving:
    """Open the HTTP server of a process. It listens, but does not answer yet.

    Args:
        config: the settings; ``http.port`` is not 0.
        models: the models with their artifacts.
        telemetry: the metrics.
        worker: the worker that counts.
        source: the source that it reads from.
        evaluator: judges if it is this process' turn.
        delivery: delivers alerts to receivers.
        progress: whether the process does its work.

    Raises:
        ConfigError: the address is taken, or a TLS file cannot be used.
        MissingLibraryError: a library for serving HTTP is not installed.
    """
    from line_plugin.optional import say_missing
    from line_plugin.version import __version__
    from monitor.errors import MissingLibraryError

    try:
        from monitor.store.overviews import RedisOverviews
        from monitor.web.access import Access
        from monitor.web.site import build_site
        from monitor.web.sources import Sources
    except ImportError as error:
        raise MissingLibraryError(say_missing("starlette", "http.port", "monitor") + f" ({error})") from None

    first, http = models.first.scorer, config.http
    limits = [(f"{m.name}: " if m.name else "") + line for m in models for line in m.scorer.calibration.limits()]
    sources = Sources(
        store=lambda: open_store(config),
        registry=telemetry.registry,
        evaluator_state=lambda: evaluator.state,
        rules=evaluator.rules,
        owned=lambda: read_behind(worker, source),
        ready=progress.ready,
        healthy=progress.healthy,
        ends=lambda: progress.ends,
        group=config.kafka.group,
        version=__version__,
        artifact=models.artifact,
        kafka_client=config.kafka.client,
        calibration_limits=tuple(limits),
        settings=shown_settings(config),
        redact=Redactor(secrets_of(config)),
        class_name=first.class_name if len(models) == 1 else str,
        overviews=lambda: RedisOverviews(open_store(config)),
        receivers=delivery.addresses,
        sinks=lambda: delivery.statuses,
    )
    names = frozenset(http.allowed_hosts)
    access = Access(http.token.get_secret_value(), bool(http.tls_client_cafile), names)
    return Serving(build_site(sources, access), http)


def read_behind(worker: Worker, source: Source) -> dict[Partition, int]:
    """Return the partitions of a worker with the number of records left to read in each; -1 if unknown."""
    owned, ends = dict(worker.owned), source.end_known()
    return {p: max(0, ends[p] - o.next) if p in ends else -1 for p, o in owned.items()}


def shown_settings(config: MonitorConfig) -> Mapping[str, Mapping[str, Any]]:
    """Show the settings by section and key. A secret is ``***`` if it is set, else empty. A URL shows only its host."""
    found: dict[str, dict[str, Any]] = {}
    dumped = config.model_dump(mode="json")
    for section in type(config).model_fields:
        held = getattr(config, section)
        if not isinstance(dumped[section], dict):
            continue
        found[section] = {key: _shown(getattr(held, key), text) for key, text in dumped[section].items()}
    return found


def _shown(value: Any, dumped: Any) -> Any:
    if isinstance(value, SecretStr):
        return "***" if value.get_secret_value() else ""
    return show_url(value) if isinstance(value, SecretUrl) else dumped
