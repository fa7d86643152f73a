"""What is said of verifications, audits and comparisons, wherever it is shown."""
