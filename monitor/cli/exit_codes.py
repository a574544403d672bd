"""The exit codes of ``ood-monitor``, in one place.

docs/monitor.md has the same table; a test compares them.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Each exit code with its meaning and what to do."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        """Make an int with a description."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    DONE = (
        0,
        (
            "it did what was asked; `run` was stopped by SIGTERM or Ctrl-C and counted the current batch, "
            "so was `ingest`, and it answered its posts; so was `local`, and it ended its servers"
        ),
    )
    FAILED = (
        1,
        "a setting, Kafka, Redis, the artifact or a receiver is at fault: the last line names it, and says what to do",
    )
    USAGE = 2, "the command line is wrong: `ood-monitor COMMAND --help` shows the right one"
    FAULT = 70, "a fault of the program itself: start it again (no record is lost) and report the last line"
    INTERRUPTED = 130, "Ctrl-C ended a command other than `run`, `ingest` and `local`"
    BROKEN_PIPE = 141, "the program that read the output went away, as `head` does"


def describe_exit_codes() -> str:
    """Describe the exit codes for ``--help``."""
    return "exit codes: " + "; ".join(f"{code.value}: {code.meaning}" for code in ExitCode).replace("`", "")
