"""The TFDS builder for PA-HMDB51."""
