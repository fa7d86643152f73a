"""A fuzzer: documents, evidence, plan files and model folders, mutated and given to commands."""
