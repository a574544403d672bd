"""An HTTP server for model servers that cannot write to Kafka: CloudEvents and plain posts become records."""
