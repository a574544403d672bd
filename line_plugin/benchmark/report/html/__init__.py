"""Writes one self-contained HTML page about saved runs: tables, pictures and how to reproduce them."""

from line_plugin.benchmark.report.html.page import PageOptions, make_page

__all__ = ["PageOptions", "make_page"]
