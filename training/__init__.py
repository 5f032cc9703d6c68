"""Network, loss, fit and results. Nothing here knows a corpus by name."""
