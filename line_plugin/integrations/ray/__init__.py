"""The passes of a network by Ray actors: several GPUs of one machine, or a cluster.

Ray Data is not used. It merges and splits blocks of rows as it finds them, so neither the batches that go through the
network nor their order are ours to keep, and the last bits of features depend on both. Here a share of the plan is a
few whole batches, an actor makes one result of each, and results are handed on in the order of the plan: what comes out
is equal to that of one process, bit for bit, with any number of actors.

``session`` starts a local Ray or joins a cluster, ``actor`` is what runs on the other side, ``crew`` starts actors and
replaces lost ones, ``sharing`` deals out the shares.
"""
