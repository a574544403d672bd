"""Sends embeddings to Kafka from the process that serves the model."""
