"""How similar two networks' activations are: taps, aggregations, distances."""
