"""Writes the runbook's part on dead letters from the reasons in the code."""

from __future__ import annotations

from monitor.messages.reasons import ADVICE, REASONS

BEGIN = "<!-- begin: written by `make docs` from monitor/messages/reasons.py -->"
END = "<!-- end -->"


def with_reasons(runbook: str) -> str:
    """Return the runbook with up-to-date entries on reasons.

    Raises:
        ValueError: the runbook has no place for these entries.
    """
    before, begin, rest = runbook.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the runbook has no place for the reasons: expected a line {BEGIN!r} and then {END!r}")
    return f"{before}{BEGIN}\n{entries()}{END}{after}"


def entries() -> str:
    """Write one entry for each reason."""
    return "".join(
        f'<a id="reason-{reason}"></a>\n### `{reason}`\n\n'
        f"**It means:** {REASONS[reason]}. **Do:** {ADVICE[reason]}.\n\n"
        for reason in REASONS
    )
