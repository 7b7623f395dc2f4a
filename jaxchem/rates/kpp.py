"""Rate laws of the Kinetic PreProcessor (UserRateLaws of KPP 3)."""
