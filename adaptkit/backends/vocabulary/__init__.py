"""New tokens for a language or a field that a base spells in many pieces.

| module | idea |
|---|---|
| `merges` | byte pair encoding, continued |
| `tokenizer` | a base's tokenizer: what its words are, and a copy of it with tokens after its own |
| `tekken` | the same in Mistral's own file |
| `weights` | rows for the new tokens in a model |
| `measures` | tokens a word before and after |
"""

from adaptkit.backends.vocabulary.tokenizer import Extension, extend, extension_of, learned, listed

__all__ = ["Extension", "extend", "extension_of", "learned", "listed"]
