"""Pre-train the extractor librispeech: VGG16 tells the most frequent words of LibriSpeech."""

from pretraining.pretrain import pretrain_command

if __name__ == "__main__":
    pretrain_command("librispeech")
