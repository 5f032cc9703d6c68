"""What the layers of a trained network still know."""
