"""The embedded dataset: generated people with private attributes who perform actions."""
