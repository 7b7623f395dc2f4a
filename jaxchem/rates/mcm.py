"""Rate laws of the Master Chemical Mechanism: photolysis, water vapour, generic coefficients."""
