"""Files and text that come from outside or go there: bounded, atomic, safe to print."""
