"""OpenOOD v1.5's protocol: benchmark files, image lists, decoding, cached features, and the runner over them."""
