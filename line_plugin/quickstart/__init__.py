"""The images and the training of `openood quickstart`: nothing is downloaded."""
