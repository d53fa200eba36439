"""The TFDS builder for VPHMDB."""
