"""Pre-train the extractor goodsounds: VGG16 tells the twelve instruments of Good-Sounds."""

from pretraining.pretrain import pretrain_command

if __name__ == "__main__":
    pretrain_command("goodsounds")
