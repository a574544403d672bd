"""Alerts as people and programs read them, and their delivery to receivers."""
