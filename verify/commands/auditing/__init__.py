"""What ``receipts audit`` does: what it is asked, what it loads, how it conducts an audit."""
