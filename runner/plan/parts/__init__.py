"""The parts of a plan, each resolved from its section of the plan file."""
