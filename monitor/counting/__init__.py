"""Counts records exactly once: who owns a partition, what a batch adds, and how it is written."""
