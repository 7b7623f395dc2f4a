"""Rate laws of astrochemical compilations: KIDA, UMIST and KROME."""
