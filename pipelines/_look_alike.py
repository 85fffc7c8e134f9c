"""Within how many bits published hashes take two pictures for one; docs/duplicates.md has how often that is right.

A release publishes no colours, by which `dedup` confirms a pHash: PDQ confirms it here, and finds pictures by itself.
"""

PHASH_RADIUS = 2
CONFIRMING_RADIUS = 66  # of PDQ, where pHash is near
PDQ_RADIUS = 31  # as ThreatExchange advises
MIN_QUALITY = 50  # of PDQ; flatter pictures are not compared
