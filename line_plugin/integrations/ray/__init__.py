"""Runs the passes of a network on Ray actors, for several GPUs of one machine or for a cluster.

The plan of batches is split into shares of a few whole batches. An actor makes one result of each batch, and results
are returned in the order of the plan. So they equal those of one process, bit for bit, with any number of actors. Ray
Data is not used. It merges and splits blocks of rows freely, which changes the batches and their order, and the last
bits of features depend on both.

``session`` starts a local Ray or joins a cluster. ``actor`` runs in the actors' processes. ``crew`` starts actors and
replaces lost ones. ``sharing`` splits the plan into shares and collects the results.
"""
