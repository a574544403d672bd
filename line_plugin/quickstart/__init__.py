"""The images and the training of `openood quickstart`. Nothing is downloaded."""
