"""Train an image anonymizer that keeps the action recognisable and removes private attributes."""
