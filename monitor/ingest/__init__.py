"""A small HTTP server beside servers that can only post: it takes CloudEvents and plain posts, and writes each to Kafka."""
