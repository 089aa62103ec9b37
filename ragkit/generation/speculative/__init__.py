"""Speculative decoding: drafters foretell tokens, one pass of the model verifies them, and the text is the same."""
