"""Units of a run after the engine: what becomes of their points, behind the next one's answers."""
