"""A small HTTP server for model servers that can only post: CloudEvents and plain posts become records in Kafka."""
