"""Matrices as batches on a device, and what frozen networks make of them."""
