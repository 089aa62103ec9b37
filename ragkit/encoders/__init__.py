"""Encoders: texts to vectors. `encoder(name)` loads one; the default one needs no model hub."""

from ragkit.encoders.encoder import TextEncoder
from ragkit.encoders.load import default_is_there, encoder
from ragkit.encoders.settings import DEFAULT_MODEL, STATIC_MODEL, EncoderSettings

__all__ = ["DEFAULT_MODEL", "STATIC_MODEL", "EncoderSettings", "TextEncoder", "default_is_there", "encoder"]
