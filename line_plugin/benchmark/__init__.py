"""Runs the protocol of OpenOOD v1.5 and the papers' own benchmarks: its methods, the runner and the reports."""
