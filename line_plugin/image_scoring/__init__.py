"""Scores single images, folders and lists with a fitted artifact, for `openood score`.

Images are decoded, transformed, batched and scored as in `openood eval`, so equal images in equal order have scores
with equal bits. Nothing is cached, and memory does not grow with the number of images.
"""
