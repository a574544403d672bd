"""Closed buckets to alerts: who judges, by which rules, and what of the budget is spent."""
