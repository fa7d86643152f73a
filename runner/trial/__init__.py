"""The child process in which a model's folder is tried before it is loaded."""
