"""Network, loss, fit and results. Nothing here knows a corpus by name."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.methods.anti_transfer import AntiTransferLoss

__all__ = ["AntiTransferLoss"]


def __getattr__(name: str) -> Any:
    """The loss, for code of one's own; loaded when it is asked for, as it brings torch along."""
    if name == "AntiTransferLoss":
        from training.methods.anti_transfer import AntiTransferLoss

        return AntiTransferLoss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
