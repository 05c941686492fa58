"""What the workers of each peer import: the functions of ``bench.peers.actions`` as its tasks."""
