"""From points to counts, rates and intervals: exact rationals."""
