"""Commands of the verifier that load on use."""
