"""The protocol runner: OpenOOD v1.5 and the papers' own benchmarks."""
