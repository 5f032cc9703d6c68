"""Which instances of which experiments run, whether their inputs are there, and in what order."""
