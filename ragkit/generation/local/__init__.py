"""Language models on this machine, through transformers and torch."""
