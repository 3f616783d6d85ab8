"""`episoded bench`: what recording costs while episodes are encoded, measured and compared."""
