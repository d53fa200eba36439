"""The TFDS builder for VPUCF."""
