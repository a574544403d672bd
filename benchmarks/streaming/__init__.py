"""The worker on genuine Apache Kafka and Redis: how fast, how late, how large, and where the time goes."""
