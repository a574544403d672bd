"""Whole processes: ``run``, ``check``, ``replay``, ``promote`` and ``init``, with metrics and logs."""
