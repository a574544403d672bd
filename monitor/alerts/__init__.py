"""An alert as people and machines read it, and its delivery to receivers."""
