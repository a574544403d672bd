"""Real workers on real servers, one fault at a time, and what became of the counts and of the alerts meanwhile."""
