"""The networks themselves, with the state-dict names of OpenOOD v1.5."""
