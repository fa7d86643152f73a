"""Mixed-demonstration safety evaluations as sealed events whose numbers can be checked."""
