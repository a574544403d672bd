"""Kafka in: one file a client library, the same protocol for all, and the dead letters."""
