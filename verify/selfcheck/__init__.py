"""The tool tried on itself: demo, doctor, self-test, forgeries."""
