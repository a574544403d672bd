"""From records to exact counts: who owns a partition, what a batch adds, how it is written once."""
