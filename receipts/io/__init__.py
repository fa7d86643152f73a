"""Files and text from outside and to it: bounded, atomic, printable."""
