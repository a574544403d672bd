"""The part of the runbook on dead letters, made from the reasons that the code knows."""

from __future__ import annotations

from monitor.messages.reasons import ADVICE, REASONS

BEGIN = "<!-- begin: written by `make docs` from monitor/messages/reasons.py -->"
END = "<!-- end -->"


def with_reasons(runbook: str) -> str:
    """The runbook with its entries on reasons as they should be.

    Raises:
        ValueError: the runbook has no place for them.
    """
    before, begin, rest = runbook.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the runbook has no place for the reasons: expected a line {BEGIN!r} and then {END!r}")
    return f"{before}{BEGIN}\n{entries()}{END}{after}"


def entries() -> str:
    """One entry a reason."""
    return "".join(
        f'<a id="reason-{reason}"></a>\n### `{reason}`\n\n'
        f"**It means:** {REASONS[reason]}. **Do:** {ADVICE[reason]}.\n\n"
        for reason in REASONS
    )
