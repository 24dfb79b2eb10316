"""What was measured before: kept under all that it depends on, and taken from there instead of measured again."""
