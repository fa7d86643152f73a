"""Runs, audits and calibrations in workers: what these load, and what they are asked."""
