"""Rate laws of MUSICA's chemistry solver, MICM, in mol m-3, s, K and Pa."""
