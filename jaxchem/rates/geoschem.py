"""Rate laws of GEOS-Chem's mechanisms."""
