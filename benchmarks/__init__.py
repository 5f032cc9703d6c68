"""Measurements, each printing hardware, a table and JSON; figures kept under results/."""
