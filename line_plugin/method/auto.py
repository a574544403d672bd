"""Chooses LINe's clip from ID data alone during a fit, and keeps the choice as JSON in the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from line_plugin.errors import ArtifactCorruptError
from line_plugin.math.class_sample import ROWS, ClassSample
from line_plugin.math.clip_choice import Candidate, LeaveOut
from line_plugin.math.leave_out import choose_clip
from line_plugin.method.settings import LINeSettings

CHOICE_KEY = "clip_choice"  # the key in Provenance.extra
AUTO = "auto"
"""The value of ``clip`` with which users ask for a chosen one."""


@dataclass(frozen=True)
class Rule:
    """The rule that chooses the clipping threshold by leaving classes out; the masks are given.

    Attributes:
        seed: seed of the sample of training rows and of the split of classes into folds.
        rows: the most training rows to keep for it.
    """

    seed: int = 0
    rows: int = ROWS

    def sample(self, num_classes: int) -> ClassSample:
        """An empty sample, which the pass that sums the features fills."""
        return ClassSample(num_classes, rows=self.rows, seed=self.seed)

    def choose(self, sample: ClassSample, weight: Tensor, bias: Tensor) -> LeaveOut:
        """Chooses the clip with :func:`~line_plugin.math.leave_out.choose_clip`."""
        return choose_clip(sample.features, sample.labels, weight, bias, seed=self.seed)


def with_choice(extra: Mapping[str, Any], choice: LeaveOut) -> dict[str, Any]:
    """``Provenance.extra`` with the choice as JSON values, so that an artifact is equal after writing and reading."""
    plain = asdict(choice)
    plain["folds"] = [list(fold) for fold in choice.folds]
    plain["candidates"] = [{**asdict(c), "aurocs": list(c.aurocs)} for c in choice.candidates]
    return {**extra, CHOICE_KEY: plain}


def choice_of(extra: Mapping[str, Any]) -> LeaveOut | None:
    """The choice in ``Provenance.extra``, or None if the settings were given.

    Raises:
        ArtifactCorruptError: there is a choice, but not as :func:`with_choice` writes it.
    """
    if CHOICE_KEY not in extra:
        return None
    try:
        kept = dict(extra[CHOICE_KEY])
        candidates = tuple(Candidate(c["percentile"], c["clip"], tuple(c["aurocs"])) for c in kept.pop("candidates"))
        folds = tuple(tuple(fold) for fold in kept.pop("folds"))
        plain = {name: kept[name] for name in ("clip", "percentile", "seed", "rows", "width", "dead", "negative")}
        return LeaveOut(**plain, candidates=candidates, folds=folds)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactCorruptError(
            f"the artifact's record of its clip's choice has a missing or wrong entry ({error}): fit again"
        ) from error


def describe_choice(settings: LINeSettings, choice: LeaveOut, name: str, origin: str = "") -> list[str]:
    """Describes to users, in sentences, which clip a fit chose and from what.

    Args:
        settings: the settings of the fit that made that choice.
        name: the name of the method. origin: why it had to choose, as a clause.
    """
    because, masks = f"{origin}, so " if origin else "", [_text(settings.p_w), _text(settings.p_a)]
    chosen = (
        f"{name}: {because}its clip {choice.clip:.4g} was chosen from {choice.rows} training images alone, by "
        f"leaving classes out: percentile {choice.percentile:g} of their activations, masks p_w {masks[0]} and "
        f"p_a {masks[1]}."
    )
    return [chosen, *choice.limits()]


def _text(percentile: float | None) -> str:
    return "off" if percentile is None else f"{percentile:g}"
