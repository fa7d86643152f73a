"""What an audit draws, tests and concludes: values in, values out, no model."""
