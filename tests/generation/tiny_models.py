"""Small random language models with tokenizers of their own, of every shape that matters: made in memory, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

CORPUS = [
    "The pump has two gaskets, and the outer gasket is replaced every year before winter begins.",
    "Which passage answers the question best? Answer with its letter: A, B, C, D or E.",
    "Query: how often is the gasket replaced? Document: every year. Relevant: true or false, yes or no.",
    "[1] > [2] > [3] > [10] > [20] {\"name\": \"value\", \"count\": 12} system user assistant",
    "I think, therefore I am; yes, no, no, yes. true false true false",
    "Ein Ventil öffnet sich bei drei Bar; 阀门打开。 Once upon a time there was a little engine.",
] * 3  # fmt: skip

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INST = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ bos_token }}"
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] | trim }} [/INST]"
    "{% else %} {{ m['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models so small are slower with more, and much slower beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@lru_cache
def byte_tokenizer(template: str | None = CHATML) -> Any:
    """Byte-level BPE as GPT-2's and Qwen's, without a beginning token; ends with <|im_end|>."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    made.add_tokens([AddedToken("<think>", special=False)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template
    )


@lru_cache
def sentence_tokenizer(template: str | None = INST) -> Any:
    """BPE with marks for word beginnings and fallback to bytes as Llama's: control tokens stand in the vocabulary, and <s> begins."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    learnt = Tokenizer(models.BPE(unk_token="<unk>"))
    learnt.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learnt.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # nothing is merged across words
    learnt.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False))
    import json

    state = json.loads(learnt.to_str())["model"]
    merges = [tuple(m) for m in state["merges"]]
    made = Tokenizer(models.BPE(state["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = learnt.normalizer
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", left=1)])
    made.add_special_tokens(special[:3])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template
    )


@lru_cache
def unigram_tokenizer() -> Any:
    """Unigram as T5's: </s> ends every text, and stands in the vocabulary."""
    words = sorted({w for text in CORPUS for w in text.split()})
    pieces = [(f"▁{w}", -5.0) for w in words] + [("▁", -8.0)] + [(chr(c), -10.0) for c in range(33, 127)]
    known = dict([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), *pieces])
    made = Tokenizer(models.Unigram(list(known.items()), unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


_SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}


def qwen2(attention: str = "sdpa", seed: int = 7, **more: Any) -> tuple[Any, Any]:
    """Grouped heads, byte-level tokenizer with a chat template, more logits than tokens."""
    config = transformers.Qwen2Config(**{"vocab_size": 640, "num_key_value_heads": 2, **_SMALL, **more})
    return _made(transformers.Qwen2ForCausalLM, config, byte_tokenizer(), attention, seed)


def llama(attention: str = "sdpa", seed: int = 7, **more: Any) -> tuple[Any, Any]:
    """Tokenizer that marks the beginnings of words, a template that trims and knows no system's turn."""
    config = transformers.LlamaConfig(**{"vocab_size": 600, **_SMALL, **more})
    return _made(transformers.LlamaForCausalLM, config, sentence_tokenizer(), attention, seed)


def mistral(attention: str = "sdpa", seed: int = 7) -> tuple[Any, Any]:
    """A window of 16 positions slides over the text."""
    config = transformers.MistralConfig(vocab_size=640, num_key_value_heads=2, sliding_window=16, **_SMALL)
    return _made(transformers.MistralForCausalLM, config, byte_tokenizer(), attention, seed)


def gpt2(attention: str = "sdpa", seed: int = 7) -> tuple[Any, Any]:
    """Learnt absolute positions; no chat template."""
    config = transformers.GPT2Config(vocab_size=640, bos_token_id=0, eos_token_id=0, n_embd=32, n_layer=2, n_head=4, n_positions=512)
    return _made(transformers.GPT2LMHeadModel, config, byte_tokenizer(None), attention, seed)


def t5(seed: int = 7) -> tuple[Any, Any]:
    """Encoder and decoder with relative positions."""
    tokenizer = unigram_tokenizer()
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, dropout_rate=0.0
    )
    return _made(transformers.T5ForConditionalGeneration, config, tokenizer, "eager", seed)


def _made(kind: Any, config: Any, tokenizer: Any, attention: str, seed: int) -> tuple[Any, Any]:
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    config._attn_implementation = attention
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # sharper than fresh weights, so that errors show
    return model, tokenizer


def next_logprobs(model: Any, ids: Sequence[int], keep: int = 1) -> Any:
    """Oracle: log-probabilities (keep, V) after the last tokens, of one plain pass without cache, padding or batch."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -keep:]
    return logits.float().log_softmax(-1)


def greedy(model: Any, ids: Sequence[int], count: int, ends: frozenset[int] = frozenset()) -> list[int]:
    """Oracle: the most probable continuation, the whole text computed anew for each token."""
    out: list[int] = []
    while len(out) < count:
        token = int(next_logprobs(model, [*ids, *out])[-1].argmax())
        if token in ends:
            break
        out.append(token)
    return out
