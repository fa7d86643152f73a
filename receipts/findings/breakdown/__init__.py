"""How many labels would have to be false before a finding says something else."""
