"""What an INI file declares by name: [dataset NAME], [extractor NAME], [network NAME] and
[embedding NAME].

Relative paths in a declaration start at the folder of the file that holds it.
"""

from config.datasets import DatasetDeclaration
from config.fields import Count, DeclaredPath, Name, OptionalDeclaredPath, OptionalName, Section
from config.networks import Network

# In an extractor's folder: hashes of the audio that it was trained on, a line each.
TRAINING_AUDIO = "training_audio.txt"


class Extractor(Section):
    """A network of an orthogonal task, to be trained by pretraining/pretrain.py.

    dataset: matrices that it is trained on.
    task: what it is to tell, in words.
    network: that is trained; None: the run's.
    num_epochs, patience, batch_size: of its training.
    random_offset: whether a training example shorter than the others stands at a random place in
        its padding, drawn anew each time, instead of at the start.
    folder: where its model lies; None: in [results] pretraining_folder.
    """

    name: Name
    dataset: Name
    task: str = ""
    network: OptionalName = None
    num_epochs: Count = 50
    patience: Count = 5
    batch_size: Count = 40
    random_offset: bool = False
    folder: OptionalDeclaredPath = None

    @property
    def command(self) -> str:
        """What a user types to train it."""
        return f"python pretraining/pretrain.py {self.name}"


class Embedding(Section):
    """A vector for each clip, computed elsewhere; at_dataset = embedding:NAME takes it.

    file: see training/data/embeddings.py.
    """

    name: Name
    file: DeclaredPath


# The first word of a section's name, the attribute of Settings, and what the section holds.
DECLARATIONS: dict[str, tuple[str, type[Section]]] = {
    "dataset": ("datasets", DatasetDeclaration),
    "extractor": ("extractors", Extractor),
    "network": ("networks", Network),
    "embedding": ("embeddings", Embedding),
}
