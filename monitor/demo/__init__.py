"""The demo: a broker, a Redis and a surge of real OOD images on one machine."""
