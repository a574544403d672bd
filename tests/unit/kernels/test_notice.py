"""What is said of a kernel that cannot be used is one line that a log can hold."""

from __future__ import annotations

import pytest

from line_plugin.kernels.notice import first_line


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain", "plain"),
        ("\n first\n second", "first"),
        ("\x1b[1m\x1b[31mno such intrinsic\x1b[0m\nFile ...", "no such intrinsic"),
        ("\x1b[1m\n\x1b[0mbehind", "behind"),
        ("x" * 500, "x" * 200),
        ("", ""),
    ],
)
def test_colours_further_lines_and_length_are_left_out(said: str, shown: str) -> None:
    assert first_line(ValueError(said)) == shown
