"""The entries of ``plan.yaml``, as models, one file a section; the names are those of the file."""
