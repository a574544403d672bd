"""What the store and the process know, as one JSON document for people: bounded, and made every few seconds at most."""
