"""The other side of the topic: sending embeddings from the process that serves the model."""
