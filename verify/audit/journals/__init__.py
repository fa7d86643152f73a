"""What unfinished audits and calibrations keep, signed line by signed line."""
