"""The `openood` command line."""
