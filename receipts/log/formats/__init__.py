"""What a log is made of and what is said of it: the formats of C2SP, and one entry."""
