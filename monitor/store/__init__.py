"""Where counts, evidence and alerts are kept: the protocol, Redis, and the names of its keys."""
