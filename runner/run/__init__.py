"""From a sealed plan to a sealed receipt: generate, judge, journal, seal."""
