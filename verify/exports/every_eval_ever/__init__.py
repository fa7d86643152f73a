"""Every Eval Ever 0.3.0: a folder whose content can be put into its data store."""
