"""Exports: a verified receipt in other tools' formats, one module a format."""
