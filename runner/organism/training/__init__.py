"""How the organism was made: not in the wheel, which ships the finished members."""
