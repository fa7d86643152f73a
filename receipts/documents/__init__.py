"""Documents from outside: strict JSON, schema, model."""
