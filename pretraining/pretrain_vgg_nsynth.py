"""Pre-train the extractor nsynth: VGG16 tells the eleven instrument families of NSynth."""

from pretraining.pretrain import pretrain_command

if __name__ == "__main__":
    pretrain_command("nsynth")
