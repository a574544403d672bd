"""One self-contained HTML page about saved runs: tables, pictures and what reproduces them. It loads nothing."""

from line_plugin.benchmark.report.html.page import PageOptions, make_page

__all__ = ["PageOptions", "make_page"]
