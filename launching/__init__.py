"""Who carries out runs of experiments: this process, several of this machine, or a Ray cluster."""
