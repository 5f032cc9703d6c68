"""Pre-train the extractor iemocap_1sec: VGG16 tells emotions from 1 s of IEMOCAP."""

from pretraining.pretrain import pretrain_command

if __name__ == "__main__":
    pretrain_command("iemocap_1sec")
