"""The mathematics of alerting: from counts to evidence and transitions, without input, output, clock or randomness."""
