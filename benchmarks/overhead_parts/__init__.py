"""What the overhead of runs is measured with: a plan, and a model that costs nothing."""
