"""What a replay is made of: what it adds up, the pinned pieces of the topic, and the actors that read them."""
