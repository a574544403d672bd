"""The version of the distribution, written once."""

__version__ = "1.0.0"
