"""Text to token ids and back, for byte-level BPE vocabularies from GGUF metadata or a tokenizer.json.

The merging is that of the `tokenizers` package. Control tokens such as <|im_end|> are made only from text that the
caller declares to be the template's. They are not in the package's vocabulary, so user text cannot produce them.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from models.core.errors import UserError
from models.core.files import read_json
from models.formats.gguf.gguf_file import GgufFile
from models.formats.gguf.gguf_metadata import GgufMetadata

# Tokens that end an answer, in addition to those that a model's configuration names as the end of a sequence.
_END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<end_of_utterance>")
# GGUF's names for two pre-tokenizers: GPT-2's pattern, and GPT-2's pattern after single digits are split off.
_PLAIN_PRE = ("default", "gpt-2", "gpt2", "mpt", "olmo", "jais", "trillion", "granite-docling")
_DIGITS_PRE = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
# Other keys of tokens that end an answer in GGUF, beside the end of a sequence: of a turn, and of a message.
_GGUF_ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
# The answers of models with this token consist of control tokens, which are then text: `<doctag>`, `<loc_39>`. Others
# in their vocabulary are not: those of chat templates, written <|so|>, and those around images.
_MARKUP_TOKEN = "<doctag>"
_NO_MARKUP = re.compile(
    r"<\|.*\|>|<image>|<fake_token_around_image>|<global-img>|<row_\d+_col_\d+>|<end_of_utterance>|</?s>|<unk>|<pad>"
)
_PART, _WHOLE = 16_384, 32_768  # characters
_WORD_BEGINS = re.compile(r"(?<=[^\s]) (?=[^\s])")
_GGUF_UNKNOWN, _GGUF_CONTROL, _GGUF_USER_DEFINED = 2, 3, 4


class Tokenizer:
    """The tokenizer of one model.

    special: the ids of control tokens by their text. end_ids: the tokens that end an answer.
    bos_id: the token that begins a sequence, or None. It is not added by `encode`; templates contain it.
    """

    def __init__(
        self,
        bpe: tokenizers.Tokenizer,
        special: Mapping[str, int],
        *,
        bos_id: int | None,
        eos_id: int | None,
        other_end_ids: Iterable[int] = (),
    ) -> None:
        self._bpe = bpe
        self.special = dict(special)
        self.bos_id = bos_id
        self.eos_id = eos_id
        by_text = {special[text] for text in _END_TOKENS if text in special}
        self.end_ids = frozenset({*by_text, *other_end_ids, *([] if eos_id is None else [eos_id])})
        markup = _MARKUP_TOKEN in special
        self._silent = {
            number for text, number in special.items() if not markup or _NO_MARKUP.fullmatch(text)
        }
        self._special_text = {number: text for text, number in special.items()}
        longest_first = sorted(special, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @classmethod
    def from_gguf(cls, file: GgufFile | GgufMetadata) -> Tokenizer:
        """The tokenizer in a file's metadata. Raises UserError when it is of another kind or damaged."""
        values = file.metadata
        kind = values.get("tokenizer.ggml.model")
        if kind != "gpt2":
            raise UserError(
                f"{file.path} has a tokenizer of the kind {kind!r}; only byte-level BPE is supported"
            )
        texts = _strings(file, "tokenizer.ggml.tokens")
        bpe = _build(file.path, texts, _strings(file, "tokenizer.ggml.merges"))
        bpe.pre_tokenizer = _pre_tokenizer(file.path, values.get("tokenizer.ggml.pre", "default"))
        kinds = values.get("tokenizer.ggml.token_type")
        if not isinstance(kinds, np.ndarray) or len(kinds) != len(texts):
            raise UserError(f"{file.path} does not say which of its tokens are control tokens")
        control = np.flatnonzero((kinds == _GGUF_CONTROL) | (kinds == _GGUF_UNKNOWN))
        whole = [
            tokenizers.AddedToken(texts[i], normalized=False)
            for i in np.flatnonzero(kinds == _GGUF_USER_DEFINED)
        ]
        bpe.add_tokens(whole)
        return cls(
            bpe,
            {texts[index]: int(index) for index in control},
            bos_id=_token_id(file, "tokenizer.ggml.bos_token_id", len(texts)),
            eos_id=_token_id(file, "tokenizer.ggml.eos_token_id", len(texts)),
            other_end_ids=[
                number for key in _GGUF_ENDS if (number := _token_id(file, key, len(texts))) is not None
            ],
        )

    @classmethod
    def from_directory(cls, directory: Path) -> Tokenizer:
        """The tokenizer in tokenizer.json and tokenizer_config.json of a Hugging Face directory. Raises UserError."""
        path = directory / "tokenizer.json"
        content = read_json(path)
        if not _is_byte_level(content):
            raise UserError(f"{path} is no byte-level BPE tokenizer, which is the one kind that is supported")
        content["post_processor"] = None
        try:
            bpe = tokenizers.Tokenizer.from_str(json.dumps(content))
            added = bpe.get_added_tokens_decoder()
            special = {token.content: number for number, token in added.items() if token.special}
            bpe.encode_special_tokens = True  # True means: encode their spelling as plain text
        except Exception as error:  # the package raises plain Exception
            raise UserError(f"{path} cannot be read ({error}); download it again") from None
        settings = read_json(directory / "tokenizer_config.json")
        return cls(
            bpe,
            special,
            bos_id=special.get(token_text(settings.get("bos_token"))),
            eos_id=special.get(token_text(settings.get("eos_token"))),
            other_end_ids=_generation_ends(directory / "generation_config.json"),
        )

    def __len__(self) -> int:
        """The size of the vocabulary, control tokens included."""
        return max([self._bpe.get_vocab_size() - 1, *self.special.values()]) + 1

    def encode(self, text: str, *, special: bool, most: int | None = None) -> list[int]:
        """Token ids of a text.

        special: whether the spelling of a control token becomes that token; otherwise it stays plain text.
        Lone surrogates, which UTF-8 cannot represent, become question marks. A byte that the vocabulary lacks is
        left out (SmolLM2 lacks some control characters and the lead bytes of unassigned planes).
        most: the rest of a text with more tokens may be left out; what is returned then has more than `most` as well.
        """
        return self.encode_joined([(text, special)], most)

    def encode_joined(self, pieces: Sequence[tuple[str, bool]], most: int | None = None) -> list[int]:
        """Token ids of texts that follow each other, as (text, special): see `encode`.

        Between two control tokens the texts are one, so that a blank at the end of one piece and the word at the
        beginning of the next become one token.
        """
        ids: list[int] = []
        run = ""
        for piece, special in pieces:
            text = piece.encode("utf-8", "replace").decode("utf-8")
            position = 0
            for match in self._special_pattern.finditer(text) if special else ():
                ids += self._plain(run + text[position : match.start()], most)
                ids.append(self.special[match[0]])
                run, position = "", match.end()
            run += text[position:]
        return ids + self._plain(run, most)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids. Control tokens have none, except in models that answer in markup.

        Bytes that are not UTF-8 become U+FFFD.
        """
        stream = self.stream()
        return "".join([stream.feed(number) for number in ids]) + stream.flush()

    def stream(self) -> StreamDecoder:
        """A decoder for tokens that arrive one by one."""
        return StreamDecoder(self)

    def token_bytes(self, number: int) -> bytes:
        """The bytes of a token; empty for an unused id, and for a control token that is no markup of answers."""
        if number in self._special_text:
            return b"" if number in self._silent else self._special_text[number].encode()
        text = self._bpe.id_to_token(number)
        if text is None:
            return b""
        if all(character in _BYTES for character in text):
            return bytes(_BYTES[character] for character in text)
        return text.encode()

    @cached_property
    def by_bytes(self) -> Mapping[bytes, int]:
        """The ids of the tokens that are text, by their bytes. Made once, which takes about 0.1 s."""
        control = set(self.special.values())
        texts = ((self.token_bytes(number), number) for number in range(len(self)) if number not in control)
        return {text: number for text, number in texts if text}

    @cached_property
    def by_small_bytes(self) -> Mapping[bytes, Sequence[int]]:
        """As `by_bytes`, with A to Z as small letters: the tokens that differ in case alone are together."""
        found: dict[bytes, list[int]] = {}
        for text, number in self.by_bytes.items():
            found.setdefault(text.lower(), []).append(number)
        return found

    def _plain(self, text: str, most: int | None) -> list[int]:
        ids: list[int] = []
        for part in _parts(text) if most is not None else [text] if text else []:
            ids += self._bpe.encode(part, add_special_tokens=False).ids
            if most is not None and len(ids) > most:
                break
        return ids


class StreamDecoder:
    """Decodes token by token. An incomplete UTF-8 character is held back until it is complete."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, number: int) -> str:
        """The text that is complete with this token."""
        return self._utf8.decode(self._tokenizer.token_bytes(number))

    def flush(self) -> str:
        """The text at the end of the stream: U+FFFD for an incomplete character, else empty."""
        return self._utf8.decode(b"", final=True)


def _parts(text: str) -> Iterator[str]:
    """A long text in parts whose tokens are those of the whole. A text of usual length is one part.

    A part begins at a single space between two words, where pre-tokenizers split as well. A text without such a space
    is cut anywhere. Each part takes milliseconds, so that other threads can run in between.
    """
    start = 0
    while len(text) - start > _WHOLE:
        at = _WORD_BEGINS.search(text, start + _PART, start + _WHOLE)
        end = start + _PART if at is None else at.start()
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def token_text(entry: object) -> str:
    """The text of a token in tokenizer_config.json, which is a string or an object with "content"."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) else ""


def _generation_ends(path: Path) -> list[int]:
    """The ids in eos_token_id of generation_config.json, which is one number or several; none without the file."""
    value = read_json(path).get("eos_token_id") if path.exists() else None
    values = value if isinstance(value, list) else [value]
    return [number for number in values if isinstance(number, int) and number >= 0]


def _build(path: Path, texts: Sequence[str], merges: Sequence[str]) -> tokenizers.Tokenizer:
    halves = " ".join(merges).split(" ")  # one split for all 50,000 merges is faster
    pairs = list(zip(halves[::2], halves[1::2], strict=True)) if len(halves) == 2 * len(merges) else []
    vocabulary = {text: index for index, text in enumerate(texts)}
    if len(vocabulary) != len(texts) or len(pairs) != len(merges):
        raise UserError(f"{path} has a damaged vocabulary; download it again")
    try:
        bpe = tokenizers.Tokenizer(models.BPE(vocabulary, pairs))
    except Exception as error:  # the package raises plain Exception
        raise UserError(f"{path} has a damaged vocabulary ({error}); download it again") from None
    bpe.decoder = decoders.ByteLevel()
    return bpe


def _pre_tokenizer(path: Path, name: object) -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer, which splits text before BPE, by its name in GGUF."""
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in _PLAIN_PRE:
        return words
    if name in _DIGITS_PRE:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    raise UserError(f"{path} cuts text in the way named {name!r}, which is not supported")


def _is_byte_level(content: Mapping[str, Any]) -> bool:
    model, decoder = content.get("model"), content.get("decoder")
    return (
        isinstance(model, dict)
        and isinstance(decoder, dict)
        and model.get("type") == "BPE"
        and decoder.get("type") == "ByteLevel"
    )


def _strings(file: GgufFile | GgufMetadata, key: str) -> list[str]:
    values = file.metadata.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values[:1]):
        raise UserError(f"{file.path} lacks {key}; it holds no tokenizer")
    return cast(list[str], values)  # all elements of a GGUF array have one type


def _token_id(file: GgufFile | GgufMetadata, key: str, count: int) -> int | None:
    value = file.metadata.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value < count:
        raise UserError(f"{file.path} has {key} = {value!r}, which is no token")
    return value


def _byte_alphabet() -> dict[str, int]:
    """The byte value of each character in a byte-level vocabulary.

    Printable Latin-1 bytes are written as themselves. The other 68 bytes are written as the characters from U+0100
    on, in order (Radford et al., Language Models are Unsupervised Multitask Learners, 2019).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_alphabet()
