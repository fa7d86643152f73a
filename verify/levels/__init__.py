"""What each level of verification looks at."""
