"""Public randomness beacons: which are known, when a round is out, and whether it said so."""
