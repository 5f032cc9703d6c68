"""Product of experts: the network learns what an expert on the frozen knowledge cannot tell.

The expert predicts the target from the frozen features alone. The network is trained on the
normalised product of its own and the expert's prediction, and used without the expert.

Sources: Hinton, "Training products of experts by minimizing contrastive divergence", Neural
Computation 14 (2002); as debiasing: Clark, Yatskar, Zettlemoyer, arXiv 1909.03683, section 3.2.1
("bias product"); He, Zha, Wang, arXiv 1908.10763, section 3; the prior: Menon et al., arXiv
2007.07314, section 4.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from training.methods import Method, MethodInputs

if TYPE_CHECKING:
    from training.data.batches import Batch


class ProductOfExperts(Method):
    """Adds to the outputs, for the task loss alone, what an expert knows beyond the class prior.

    With frozen features z and input x that are independent given the class y,
    p(y | x, z) is proportional to p(y | x) * p(y | z) / p(y). So the task loss is the
    cross-entropy of softmax(outputs + beta * (log p(y | z) - log p(y))), and the outputs alone
    are log p(y | x) but for a constant. An expert that knows nothing adds exactly 0.

    Of a regression the expert's prediction less the training mean is added to the output: the
    network learns what is left.

    Args:
        offsets: (examples of the matrices, classes), of a regression (examples, 1): what is added.
    """

    def __init__(self, offsets: Tensor) -> None:
        super().__init__()
        self.offsets = offsets

    def adjust(self, outputs: Tensor, batch: "Batch") -> Tensor:
        """Return the outputs plus the expert's part for each example."""
        return outputs + self.offsets[batch.rows.to(self.offsets.device)]


def build(inputs: MethodInputs) -> list[ProductOfExperts]:
    """Build the product with the one expert on all that at_dataset names."""
    (beta,) = inputs.training.at_beta
    device = next(inputs.model.parameters()).device
    return [ProductOfExperts((beta * inputs.expert().beyond_prior).to(device))]
