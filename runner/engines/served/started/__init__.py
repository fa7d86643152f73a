"""What is held of a server that the tool starts: arguments, variables, its socket, its end."""
