"""The demo: a broker, a Redis and a surge of real images, on one machine."""
