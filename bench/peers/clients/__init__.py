"""How each peer is started, called and stopped: one file for each. Their packages need not all be installed."""
