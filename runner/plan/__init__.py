"""From plan.yaml to a sealed plan."""
