"""Ways of training a network away from what it should not use."""
