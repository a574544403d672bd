"""Drift alerts with a false-alert budget, from embeddings in Kafka to alerts in Redis."""
