"""The tool tried on itself: doctor, self-test, forgeries."""
