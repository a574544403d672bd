"""Judging: closed buckets are added to the evidence, and alerts are raised and resolved from it."""
