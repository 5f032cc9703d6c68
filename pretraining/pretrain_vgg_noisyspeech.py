"""Pre-train the extractor noisyspeech: VGG16 tells eleven types of noise."""

from pretraining.pretrain import pretrain_command

if __name__ == "__main__":
    pretrain_command("noisyspeech")
