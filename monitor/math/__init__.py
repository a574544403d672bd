"""The mathematics of alerting: counts in, evidence and transitions out; no input, output, clock or randomness."""
