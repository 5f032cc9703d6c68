"""Settings and experiment files: INI text in, checked and frozen values out.

Everything else depends on this package; it depends on no other part of the project.
"""
