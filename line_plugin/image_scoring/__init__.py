"""Scores of single images, folders and lists by a fitted artifact: what `openood score` runs.

An image takes the path of `openood eval`: the same decoding, transforms, traced head, batches and scoring, so equal
images in equal order have equal bits. Nothing is cached, and nothing grows with the number of images.
"""
