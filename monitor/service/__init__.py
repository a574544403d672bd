"""Whole processes: the worker, its metrics, the check of its settings, and replay."""
