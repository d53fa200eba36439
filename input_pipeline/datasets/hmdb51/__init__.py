"""The TFDS builder for HMDB51."""
