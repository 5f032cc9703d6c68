"""Independent random streams of one training, all from its seed."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch


@dataclass(frozen=True)
class RngSeeds:
    """Seeds and generators of a training, one for each thing that is drawn.

    None of them is used while a frozen network is built, so a baseline and an anti-transfer
    training of the same seed start from the same weights and see the same batches.
    """

    initialization: int
    dropout: int
    shuffling: torch.Generator
    similarity: torch.Generator
    adversary: int
    random_network: int

    @classmethod
    def from_seed(cls, seed: int, fold: int) -> Self:
        """Derive the streams of one fold of a training."""
        states = np.random.SeedSequence([seed, fold]).generate_state(6).tolist()
        return cls(
            initialization=states[0],
            dropout=states[1],
            shuffling=torch.Generator().manual_seed(states[2]),
            similarity=torch.Generator().manual_seed(states[3]),
            adversary=states[4],
            random_network=states[5],
        )
