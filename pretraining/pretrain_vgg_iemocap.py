"""Pre-train the extractor iemocap: VGG16 tells the speakers of IEMOCAP."""

from pretraining.pretrain import pretrain_command

if __name__ == "__main__":
    pretrain_command("iemocap")
