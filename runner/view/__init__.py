"""What is said of plans and runs, wherever it is shown."""
