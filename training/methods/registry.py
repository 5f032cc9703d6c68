"""The methods that a run can have, and how each is built from the run's settings."""

from collections.abc import Callable, Sequence

from training.methods import Method, MethodInputs, anti_transfer, gradient_reversal

# What a name builds is none, one or, against several frozen networks, several objects.
BUILDERS: dict[str, Callable[[MethodInputs], Sequence[Method]]] = {
    "anti_transfer": anti_transfer.build,
    "gradient_reversal": gradient_reversal.build,
}


def build_methods(inputs: MethodInputs) -> list[Method]:
    """Build all that the settings ask for, in the order of BUILDERS."""
    return [method for build in BUILDERS.values() for method in build(inputs)]
