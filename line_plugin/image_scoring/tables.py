"""Scores and explanations on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from line_plugin.image_scoring.rows import ImageScore, Layout, printable, readable
from line_plugin.method.explanation import Explanation, PanelExplanation

if TYPE_CHECKING:
    from rich.table import Table


def score_table(rows: Sequence[ImageScore], layout: Layout, title: str) -> Table:
    """A table with one line for each image."""
    from rich.table import Table
    from rich.text import Text

    found = Table(title=Text(title), title_justify="left")
    found.add_column("image", overflow="fold")
    if layout.labels:
        found.add_column("label", justify="right")
    found.add_column("class")
    for name in ("confidence", "p-value"):
        found.add_column(name, justify="right")
    found.add_column("flagged")
    for name in layout.experts:
        found.add_column(f"p {name}", justify="right")
    if layout.experts:
        found.add_column("lowest expert")
    for row in rows:
        found.add_row(*(Text(cell) for cell in _cells(row, layout)), style="red" if row.flagged or row.error else None)
    return found


def _cells(row: ImageScore, layout: Layout) -> list[str]:
    cells = [printable(readable(row.path))]
    if layout.labels:
        cells.append("" if row.label is None else str(row.label))
    if row.error:
        return [*cells, printable(f"not scored: {row.error}")]
    named = printable(f"{row.predicted} {row.class_name}".strip())
    cells += [named, f"{row.confidence:.4f}", _p(row.p_value), {None: "", True: "yes", False: "no"}[row.flagged]]
    cells += [_p((row.p_values or {}).get(name)) for name in layout.experts]
    return [*cells, row.lowest_expert] if layout.experts else cells


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def explanation_table(row: ImageScore, explanation: Explanation | PanelExplanation, n: int) -> tuple[str, Table, str]:
    """Explains one confidence: a sentence, a table of the ``n`` neurons that matter most, and another sentence."""
    from rich.table import Table

    line = explanation.line if isinstance(explanation, PanelExplanation) else explanation
    named = f"class {line.predicted}{f' ({line.class_name})' if line.class_name else ''}"
    before = f"{readable(row.path)}: {named}, confidence {explanation.confidence:.4f}."
    if isinstance(explanation, PanelExplanation):
        ranking = ", ".join(
            f"{e.name} {e.score:+.3f}{f' (p {_p(e.p_value)})' if e.p_value else ''}" for e in _low(explanation)
        )
        before += f" Experts, the lowest first: {ranking}. The neurons below are those of the expert line."
    found = Table()
    heads = ("neuron", "activation", "clipped to", "weight", "kept", "adds to its logit", "adds to the confidence")
    for name in heads:
        found.add_column(name, justify="right")
    for x in line.top(n):
        numbers = [f"{v:.4g}" for v in (x.activation, x.clipped, x.weight)]
        found.add_row(
            str(x.index), *numbers, "yes" if x.kept else "no", f"{x.contribution:+.4g}", f"{x.score_contribution:+.4g}"
        )
    return printable(before), found, _sum_of(line)


def _low(explanation: PanelExplanation) -> list[Any]:
    return sorted(explanation.experts, key=lambda e: e.score)


def _sum_of(line: Explanation) -> str:
    p = line.parts
    return (
        f"{line.confidence:.4f} = {float(p.score_contributions.sum()):.4f} from all neurons {p.score_bias:+.4f} from "
        f"the bias {p.entropy:+.4f} from the spread over classes. Clipping took {float(p.clipped_away.sum()):.4g} "
        f"from the logit of class {line.predicted}, and the masks took {float(p.masked_away.sum()):.4g} "
        f"({int((~p.kept).sum())} of {len(p.kept)} neurons masked). The confidence would be {p.score_without_clip:.4f} "
        f"without clipping and {p.score_without_mask:.4f} without masks."
    )


def explanation_json(explanation: Explanation | PanelExplanation, n: int) -> dict[str, Any]:
    """The same explanation for scripts: the sum and its ``n`` largest parts."""
    from dataclasses import asdict

    line = explanation.line if isinstance(explanation, PanelExplanation) else explanation
    p = line.parts
    return {
        "line_confidence": line.confidence,
        "neurons": float(p.score_contributions.sum()),
        "bias": p.score_bias,
        "entropy": p.entropy,
        "clipped_away": float(p.clipped_away.sum()),
        "masked_away": float(p.masked_away.sum()),
        "confidence_without_clip": p.score_without_clip,
        "confidence_without_mask": p.score_without_mask,
        "top": [asdict(neuron) for neuron in line.top(n)],
    }
