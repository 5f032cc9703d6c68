"""One file per corpus: which clips it has, what each is labelled, which group it belongs to."""
