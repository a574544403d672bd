"""The store, which keeps counts, evidence and alerts: its protocol, its form in Redis, and the names of its keys."""
