"""Workers: processes that load what a run is made with, and answer parts of it."""
