"""A training's state after its epochs, so that a run that was killed goes on where it stopped."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from config.files import written_aside
from config.log import logger
from config.text import display_path

# A state is about four times the network's weights; on a fast GPU an epoch may take no longer than
# writing it. A run goes on from an older state with the same outcome, it only computes more again.
SAVING_SHARE = 0.1
# Of what the file holds; a state of an earlier version of the suite is not taken.
FORM = 2


class Checkpoint:
    """The file of one training's last state.

    Args:
        path: of the file.
        fingerprint: of everything that decides the training's outcome; the state of another
            training is not taken.
        batch_size: that it runs with, for want of memory perhaps another one than asked for.
    """

    def __init__(self, path: Path, fingerprint: str, batch_size: int) -> None:
        self.path = path
        self.fingerprint: dict[str, Any] = {
            "training": fingerprint,
            "batch_size": batch_size,
            "form": FORM,
        }
        self._saved_at = time.monotonic()
        self._save_seconds = 0.0

    def read(self) -> dict[str, Any] | None:
        """Read the last state, to the CPU; None if there is none of this training."""
        if not self.path.exists():
            return None
        try:
            stored = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # a file that is no checkpoint can make torch raise anything
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            logger.warning(
                f"{display_path(self.path)}: cannot be used, the training starts anew: {reason}"
            )
            return None
        if not isinstance(stored, dict) or stored.get("fingerprint") != self.fingerprint:
            return None
        state: dict[str, Any] = stored["state"]
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a state, unless that would take more than SAVING_SHARE of the time."""
        started = time.monotonic()
        if (started - self._saved_at) * SAVING_SHARE < self._save_seconds:
            return
        with written_aside(self.path) as aside:
            torch.save({"fingerprint": self.fingerprint, "state": dict(state)}, aside)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - started


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of torch's own streams, which dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Put torch's own streams back to a state."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
