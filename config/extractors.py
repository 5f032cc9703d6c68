"""The extractors, declared in one table: what each is trained on, and for how long."""

from dataclasses import dataclass

# In an extractor's folder: hashes of the audio that it was trained on, a line each.
TRAINING_AUDIO = "training_audio.txt"


@dataclass(frozen=True)
class Extractor:
    """A network of an orthogonal task.

    name: of its folder, its script (pretrain_vgg_<name>.py) and its at_<name>_model_path key.
    dataset: matrices that it is trained on.
    task: what it is to tell, in words.
    num_epochs, patience, batch_size: those of the released code.
    random_offset: whether a training example shorter than the others stands at a random place in
        its padding, drawn anew each time, instead of at the start.
    """

    name: str
    dataset: str
    task: str
    num_epochs: int
    patience: int
    batch_size: int
    random_offset: bool = False

    @property
    def command(self) -> str:
        """What a user types to train it."""
        return f"python pretraining/pretrain_vgg_{self.name}.py"


EXTRACTORS = {
    extractor.name: extractor
    for extractor in (
        Extractor("librispeech", "librispeech", "word", 50, 5, 40, random_offset=True),
        Extractor("iemocap", "iemocap_speaker_randsplit", "speaker", 100, 10, 40),
        Extractor("iemocap_1sec", "iemocap_1sec_actorsplit", "emotion", 100, 10, 40),
        Extractor("goodsounds", "goodsounds_instrument_randsplit", "instrument", 100, 10, 40),
        Extractor("nsynth", "nsynth", "instrument family", 50, 5, 30, random_offset=True),
        Extractor("noisyspeech", "noisyspeech_randsplit", "noise type", 100, 10, 40),
    )
}
