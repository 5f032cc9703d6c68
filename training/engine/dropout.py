"""Dropout of one process among several: its rows of the mask that one process draws for a batch."""

from torch import Tensor, nn

from training.engine.distributed import Part


class SharedDropout(nn.Dropout):
    """Dropout that draws for the whole batch and uses the mask's rows of this process.

    All processes draw the same numbers as one process would, so their random streams stay equal.

    Attributes:
        part: of the batch that comes next; None: the whole of it.
    """

    part: Part | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs `(examples of this process, ...)`, with some values set to 0."""
        if not self.training or self.part is None or self.part.count == self.part.total:
            return super().forward(inputs)
        ones = inputs.new_ones((self.part.total, *inputs.shape[1:]))
        mask = nn.functional.dropout(ones, self.p, training=True)
        return inputs * mask[self.part.places]


def share_dropout(model: nn.Module) -> None:
    """Put SharedDropout in the place of each nn.Dropout; the parameters keep their names."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                shared = SharedDropout(child.p, child.inplace)
                setattr(module, name, shared.train(child.training))


def tell_dropout(model: nn.Module, part: Part) -> None:
    """Say which part of a batch the model is given next."""
    for module in model.modules():
        if isinstance(module, SharedDropout):
            module.part = part
