"""Many runs: their inputs, their order, and who carries them out."""
