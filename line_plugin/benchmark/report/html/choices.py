"""The page's part on how settings were chosen: the clips that the automatic rule tried, and the sweeps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from line_plugin.benchmark.report.html import svg
from line_plugin.benchmark.report.html.entries import Entry
from line_plugin.errors import ArtifactCorruptError, DataError
from line_plugin.math.clip_choice import LeaveOut
from line_plugin.method.auto import choice_of

_SIZE = (420.0, 220.0)  # points


@dataclass(frozen=True)
class Choice:
    """The clips that a method's rule tried, with the picture of their AUROCs."""

    label: str
    found: LeaveOut
    picture: str

    @property
    def spread(self) -> str:
        """How much the choice matters, in a sentence."""
        return _describe_spread([100 * c.mean for c in self.found.candidates], "clips", "left-out classes")

    @property
    def folds(self) -> int:
        """How many folds of classes there are."""
        return len(self.found.folds)


@dataclass(frozen=True)
class Sweep:
    """The combinations that a method tried on the validation sets, their AUROC in per cent, and which is the best."""

    label: str
    names: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], float], ...]
    best: int

    @property
    def spread(self) -> str:
        """How much the settings matter, in a sentence."""
        return _describe_spread([auroc for _, auroc in self.rows], "combinations", "the validation sets")


def _describe_spread(aurocs: Sequence[float], what: str, where: str) -> str:
    """Describes the difference in percentage points between the best and the worst combination."""
    best, worst = max(aurocs), min(aurocs)
    return (
        f"Between the best and the worst of {len(aurocs)} {what} lie {best - worst:.2f} points of AUROC on {where} "
        f"({worst:.2f} to {best:.2f} %)."
    )


def choices_of(entries: list[Entry]) -> list[Choice]:
    """The choice of every method that chose its clip by leaving classes out.

    Raises:
        DataError: a record was not written by the rule.
    """
    out = []
    for number, entry in enumerate(entries):
        try:
            found = choice_of(entry.method.choice)
        except ArtifactCorruptError as error:
            raise DataError(f"the run misstates how {entry.label} chose its clip ({error}): evaluate again") from error
        if found is not None and found.candidates:
            picture = _draw(f"clip{number}", entry.label, found) if found.folds else ""
            out.append(Choice(entry.label, found, picture))
    return out


def _draw(name: str, label: str, choice: LeaveOut) -> str:
    """Draws the mean AUROC of each candidate as a thick line over those of the folds, and marks the chosen one."""
    from matplotlib.figure import Figure

    places = list(range(len(choice.candidates)))
    with svg.page_style():
        figure = Figure(figsize=(_SIZE[0] / 72, _SIZE[1] / 72), dpi=72)
        ax = figure.add_axes((0.12, 0.19, 0.86, 0.76))
        for fold in range(len(choice.folds)):
            ax.plot(places, [100 * c.aurocs[fold] for c in choice.candidates], color=svg.MUTED, lw=0.8)
        ax.plot(places, [100 * c.mean for c in choice.candidates], color=svg.ID, lw=2.2)
        for i, c in enumerate(choice.candidates):
            if c.percentile == choice.percentile:
                ax.plot([i], [100 * c.mean], "D", color=svg.NEAR, markeredgecolor=svg.INK, ms=7)
        ax.set_xticks(places, [f"{c.percentile:g}" for c in choice.candidates])
        ax.grid(visible=True, axis="y")
        ax.set_xlabel("clip, as a percentile of the training activations", labelpad=3)
        ax.set_ylabel("AUROC on left-out classes, %", labelpad=3)
        about = (
            f"AUROC on left-out classes for each clip that {label} tried; the table below has the figures. "
            f"Chosen: percentile {choice.percentile:g}."
        )
        return svg.inline(figure, name, about)


def sweeps_of(entries: list[Entry]) -> list[Sweep]:
    """The sweep of every method that searched its settings on the validation sets."""
    out = []
    for entry in entries:
        tried = entry.method.sweep
        if not tried:
            continue
        names = tuple(tried[0].settings)
        rows = tuple((tuple(show_setting(t.settings.get(n)) for n in names), 100 * t.auroc) for t in tried)
        best = max(range(len(tried)), key=lambda i: tried[i].auroc)
        out.append(Sweep(entry.label, names, rows, best))
    return out


def show_setting(value: object) -> str:
    """Prints a setting for people: numbers short, None as ``off``."""
    if value is None:
        return "off"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
