"""RFC 3161 timestamps: an authority's word on when plan and receipt were signed."""
