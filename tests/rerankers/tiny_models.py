"""Transformers of a few thousand random weights, with a tokenizer of whole words, saved as models are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
READS = 32


def save_tokenizer(folder: Path, words: Sequence[str]) -> int:
    """A tokenizer that reads pairs as BERT does; returns the size of its vocabulary."""
    vocabulary = {w: i for i, w in enumerate(dict.fromkeys((*SPECIAL, *words)))}
    made = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=READS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    return len(vocabulary)


def config(vocabulary: int, **more: object) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=READS,
        **{"initializer_range": 0.3, **more},
    )


def save_cross_encoder(folder: Path, words: Sequence[str], *, outputs: int = 1, seed: int = 7) -> Path:
    """A random cross-encoder."""
    size = save_tokenizer(folder, words)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertForSequenceClassification(config(size, num_labels=outputs)).save_pretrained(folder)
    return folder


def save_encoder(folder: Path, words: Sequence[str], *, seed: int = 7) -> Path:
    """A random encoder, without a head."""
    size = save_tokenizer(folder, words)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config(size, initializer_range=0.1)).save_pretrained(folder)
    return folder
