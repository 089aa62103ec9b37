"""Language models on OpenAI-compatible servers."""
