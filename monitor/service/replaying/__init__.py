"""The parts of a replay: the sums of counts, the pinned pieces of the topic, the actors that read them, the report."""
