"""What a decode step costs, counted without the device it is for."""
