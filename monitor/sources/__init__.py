"""Reads Kafka: one protocol, a file for each client library, and the dead letters."""
