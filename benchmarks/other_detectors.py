"""River's and Frouros' drift detectors behind one call, for benchmarks; those not installed are named."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Detector:
    """A detector that watches one stream.

    Attributes:
        name: library, class and settings.
        on: ``flags`` (0 or 1 a sample) or ``scores``.
        make: a fresh one, as ``feed(value) -> drift found``, which starts again after a find.
        share: part of the samples it is given, for slow ones.
    """

    name: str
    on: str
    make: Callable[[], Callable[[float], bool]]
    share: float = 1.0


def _river(name: str) -> Callable[[], Callable[[float], bool]]:
    cls = getattr(importlib.import_module("river.drift"), name)

    def make() -> Callable[[float], bool]:
        detector = cls(seed=1) if name == "KSWIN" else cls()

        def feed(value: float) -> bool:
            detector.update(value)
            return bool(detector.drift_detected)

        return feed

    return make


def _frouros(name: str) -> Callable[[], Callable[[float], bool]]:
    cls = getattr(importlib.import_module("frouros.detectors.concept_drift"), name)

    def make() -> Callable[[float], bool]:
        detector = cls()

        def feed(value: float) -> bool:
            detector.update(value=value)
            found = bool(detector.drift)
            if found:
                detector.reset()
            return found

        return feed

    return make


CANDIDATES: tuple[tuple[str, str, str, Callable[[str], Callable[[], Callable[[float], bool]]], float], ...] = (
    ("river", "ADWIN", "flags", _river, 1.0),
    ("river", "PageHinkley", "flags", _river, 1.0),
    ("river", "PageHinkley", "scores", _river, 1.0),
    ("river", "KSWIN", "scores", _river, 0.02),
    ("frouros", "CUSUM", "flags", _frouros, 0.2),
    ("frouros", "PageHinkley", "flags", _frouros, 0.2),
)


def installed() -> tuple[list[Detector], list[str]]:
    """The detectors at hand with their default settings, and a line for each library that is not installed."""
    found, missing = [], []
    for library, name, on, wrap, share in CANDIDATES:
        try:
            version = importlib.import_module(library).__version__ if library == "river" else _version(library)
            found.append(Detector(f"{library} {version} {name}, {on}", on, wrap(name), share))
        except ImportError:
            line = f"{library}: not installed"
            if line not in missing:
                missing.append(line)
    return found, missing


def _version(library: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library)
    except PackageNotFoundError as error:
        raise ImportError(library) from error
