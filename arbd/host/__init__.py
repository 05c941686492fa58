"""One kernel facility per module; no decisions."""
