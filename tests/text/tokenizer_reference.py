#!/usr/bin/env python3
"""Ids and texts that the tokenizers library gives for every part of tokenizer.json that is supported. Makes tokenizer_reference.json.

usage: tests/text/tokenizer_reference.py [OUT.json]                 with tokenizers of tools/peft_requirements.txt
       tests/text/tokenizer_reference.py OUT.json --random COUNT SEED

Each tokenizer is a model, named, and the other members of tokenizer.json; each case a text, its ids, where they differ its ids with special tokens,
and the text that these become again, where it differs also without special tokens. A case without a text is ids that are decoded only.
With --random the parts are drawn: COUNT tokenizers, each with a dozen texts. `test_tokenizer_reference OUT.json` holds them against ours.
"""
import argparse
import json
import random
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer

MARK = "\u2581"
SCRAPS = ["a", "b", "ab", "abc", "A", "B", "Ab", "e", "\u00e9", "e\u0301", "\u0130", "\ufb01", "\u00b2", "\u2167", "\u4e2d", "\u4e2d\u6587", "\U0001f642",
          "\U0001f469\u200d\U0001f467", "\u0301", "\u200d", "\u00df", "\u03a3", "\u017f", "\u01c5", "\u02b0", "'s", "'S", "'\u017f", "'ll", "'LL", "don't", "'re", " ", " ",
          "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\u00a0", "\u3000", "\u0085", "\u200b", "0", "1", "12", "129", "1290", "12901", "-", "--", "_", "\u2014",
          "\u00ab", "!", "?!", ".", ",", "/", "+=", "$", "<x>", "<y>", "<s>", "</s>", "<x", MARK, MARK * 2, MARK + "a", "\0", "\x7f", "\ufffd", "\ufeff",
          "\u0915\u094d\u0937", "\u0e2d\u0e33", "\uac00", "\u1100\u1161", "\uff21", "\u1e9e", "\u00c5", "A\u030a", "\U0001d400", "\u0660", "\u1d2c"]
ALPHABET = "abcdeABC0129 -.,_!'" + MARK + "\u00e9\u0301\u4e2d\u00b2\n\u00a0"


def byte_alphabet():
    """The characters of a byte-level vocabulary, by byte."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x144))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


def model(pieces, merges=(), **options):
    vocab = {}
    for piece in [*pieces, *("".join(pair) for pair in merges)]:
        vocab.setdefault(piece, len(vocab))
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
            "byte_fallback": False, "ignore_merges": False, **options, "vocab": vocab, "merges": [list(pair) for pair in merges]}


def models():
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = byte_alphabet()
    space, byte = letters[0x20], letters
    merged = [("a", "b"), ("ab", "c"), (space, "a"), (space + "a", "b"), (space, space), (space + space, space), ("1", "2"), ("'", "s"), (byte[0xC3], byte[0xA9]),
              (byte[0xE4], byte[0xB8]), (byte[0xE4] + byte[0xB8], byte[0xAD]), ("b", "c"), (byte[10], byte[10])]
    marked = [("a", "b"), (MARK, "a"), (MARK + "a", "b"), (MARK, MARK), (MARK + MARK, MARK), ("1", "2"), ("\u4e2d", "\u6587"), ("b", MARK)]
    return {
        # Where words end is seen: their last character has another id, or becomes bytes with those of the suffix.
        "cut": model([*ALPHABET, *(c + "$" for c in ALPHABET), *fallback], end_of_word_suffix="$", byte_fallback=True),
        "bytes": model(letters, merged),
        "bytes, whole words": model([*letters, space + "ab", "1290", "abbc"], merged, ignore_merges=True),
        "marked": model(["<unk>", *fallback, *ALPHABET, "\u6587"], marked[:-1], unk_token="<unk>", fuse_unk=True, byte_fallback=True),
        "marked inside": model(["<unk>", *fallback, *ALPHABET, "\u6587"], marked, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
        "unknown": model(["<unk>", *"abc1 ", "<0xC3>", "<0xA9>"], [("a", "b")], unk_token="<unk>", byte_fallback=True),
        "unknown fused": model(["<unk>", *"abc1 ", "<0xC3>", "<0xA9>"], [("a", "b")], unk_token="<unk>", byte_fallback=True, fuse_unk=True),
        "no unknown": model([*"abc1 "], [("a", "b"), ("ab", "ab")]),
        "prefix": {**model([*"abcAB1-", *("##" + c for c in "abcAB1-"), "<unk>", "ab", "##ab", "abab"], unk_token="<unk>", continuing_subword_prefix="##"),
                   "merges": [["a", "##b"], ["##a", "##b"], ["ab", "##ab"]]},
        # What decoders are tried on.
        "pieces": model(["a", "b", "ab", " ", "##a", "a$", "b</w>", "-", "12", MARK, MARK + "a", "a" + MARK, "<0xC3>", "<0xA9>", "<0x0A>", "<0xE4>", "\u00e9", "\u4e2d", "aab",
                         "baa", ".", " n't", "n't", " .", "<unk>", "\u0120a", "\u00c3", "\u00a9", "do", "'m", "'", "s", "?"]),
        "suffix": model([*"abcAB1-", *(c + "</w>" for c in "abcAB1-")], [("a", "b</w>"), ("a", "b"), ("ab", "c</w>")], end_of_word_suffix="</w>"),
    }


def sequence(kind, *parts):
    return parts[0] if len(parts) == 1 else {"type": "Sequence", kind: list(parts)}


def split(pattern, behavior, invert=False, string=False):
    return {"type": "Split", "pattern": {"String" if string else "Regex": pattern}, "behavior": behavior, "invert": invert}


def byte_level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def metaspace(scheme, parts=True, mark=MARK):
    return {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": parts}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def strip(left, right):
    return {"type": "Strip", "strip_left": left, "strip_right": right}


def bert(**options):
    return {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True, **options}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
# The patterns of the families' tokenizer.json.
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
             r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
              r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
NORMALIZERS = [
    {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"}, {"type": "Nmt"},
    strip(True, True), strip(True, False), strip(False, True), {"type": "Prepend", "prepend": MARK}, {"type": "Prepend", "prepend": "ab "}, {"type": "ByteLevel"},
    replace(" ", MARK), replace("ab", "b"), replace("a", ""), replace("[0-9]+", "1", "Regex"), replace(r"\s+", " ", "Regex"), replace("[b-d]*a", "-", "Regex"),
    replace("(?<=a)b", "A", "Regex"), bert(), bert(lowercase=False), bert(clean_text=False, strip_accents=True), bert(handle_chinese_chars=False, strip_accents=False),
]
PRE_TOKENIZERS = [
    *(split("-", behavior, invert, True) for behavior in BEHAVIORS for invert in (False, True)),
    *(split("[a-z]+|-", behavior, invert) for behavior in BEHAVIORS for invert in (False, True)),
    *(split(pattern, "Isolated") for pattern in PATTERNS.values()), split(PATTERNS["llama3"], "Removed", True), split(PATTERNS["o200k"], "Removed", True),
    split(" ", "MergedWithPrevious", False, True), split("(?=b)", "MergedWithNext"), split("(?<=a)b", "Isolated"), split("b*", "Isolated"), split(r"\d{1,3}(?=(?:\d{3})*\b)", "Isolated"),
    split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", "Isolated"), split(r"\n", "Contiguous"), split("", "Isolated", False, True),
    {"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False}, {"type": "Whitespace"}, {"type": "WhitespaceSplit"},
    {"type": "BertPreTokenizer"}, {"type": "CharDelimiterSplit", "delimiter": "-"}, {"type": "CharDelimiterSplit", "delimiter": "\u4e2d"},
    *({"type": "Punctuation", "behavior": behavior} for behavior in BEHAVIORS), *({"type": "FixedLength", "length": n} for n in (1, 2, 5)),
    *(metaspace(scheme, parts) for scheme in ("always", "first", "never") for parts in (True, False)), metaspace("always", True, "_"),
    byte_level(), byte_level(True), byte_level(False, True), byte_level(True, True),
]
DECODERS = [
    None, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}, {"type": "Strip", "content": "a", "start": 2, "stop": 1}, {"type": "Strip", "content": MARK, "start": 0, "stop": 2},
    replace(MARK, " "), replace("ab", "-"), replace("[0-9]+", "#", "Regex"), replace("a", ""), *(metaspace(scheme) for scheme in ("always", "first", "never")),
    {"type": "BPEDecoder", "suffix": "</w>"}, {"type": "BPEDecoder", "suffix": "$"}, {"type": "WordPiece", "prefix": "##", "cleanup": True},
    {"type": "WordPiece", "prefix": "##", "cleanup": False},
]
LLAMA_DECODER = sequence("decoders", replace(MARK, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})
LLAMA_NORMALIZER = sequence("normalizers", {"type": "Prepend", "prepend": MARK}, replace(" ", MARK))


def added(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


def template(before, after, specials):
    def piece(name):
        return {"SpecialToken": {"id": name, "type_id": 0}}

    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {"type": "TemplateProcessing", "single": [*map(piece, before), a, *map(piece, after)], "pair": [*map(piece, before), a, b, *map(piece, after)],
            "special_tokens": {name: {"id": name, "ids": [id], "tokens": [name]} for name, id in specials.items()}}


FLAGS = ["single_word", "lstrip", "rstrip", "normalized", "special"]
ADDED = [
    [added("<x>"), added("<y>", lstrip=True)], [added("<x>", rstrip=True), added("<y>", lstrip=True, rstrip=True)], [added("<x>", normalized=True), added("Ab", normalized=True)],
    [added("<x", single_word=True), added("ab", single_word=True)], [added("ab"), added("abc"), added("bc")], [added("  ", normalized=True), added("   "), added("\t")],
    [added("<s>", special=True), added("</s>", special=True, normalized=True)], [added("\u00e9", normalized=True), added("\u0301")],
    [added("<x>", single_word=True, lstrip=True, rstrip=True), added("a b", normalized=True, lstrip=True)], [added(MARK + MARK), added(MARK + "a", normalized=True, rstrip=True)],
]


EMPTY = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}


class Reference:
    def __init__(self, source):
        self.random = source
        self.models = models()
        self.tokenizers = []
        self.panics = 0

    def numbered(self, name, tokens):
        vocab = self.models[name]["vocab"]
        largest, out = len(vocab), []
        for token in tokens:
            if any(token["content"] == other["content"] for other in out):
                continue
            id = vocab.get(token["content"], largest)
            largest += id == largest
            out.append({"id": id, **token})
        return out

    def different(self, tokens, normalizer):
        """Without those whose normal form is empty, which the library finds everywhere, or another one's, of which it finds now one and now the other."""
        whole = Tokenizer.from_str(json.dumps({**EMPTY, "normalizer": normalizer, "model": self.models["pieces"]}))
        out = {}
        for token in tokens:
            form = self.attempt(whole.normalizer.normalize_str, token["content"]) if normalizer and token["normalized"] else token["content"]
            if form:
                out.setdefault(form, token)
        return list(out.values())

    def text(self):
        return "".join(self.random.choice(SCRAPS) for _ in range(self.random.randrange(1, 14)))

    def add(self, name, parts, texts, lists=()):
        """One tokenizer; its cases are what the library gives."""
        parts = {key: value for key, value in parts.items() if value is not None}
        tokenizer = self.attempt(Tokenizer.from_str, json.dumps({**EMPTY, **parts, "model": self.models[name]}))
        if not tokenizer:
            return
        cases = [self.attempt(self.encoded, tokenizer, text) for text in texts]
        cases += [self.attempt(self.decoded, tokenizer, {"ids": ids}, ids) for ids in lists]
        self.tokenizers.append({"model": name, "parts": parts, "cases": [case for case in cases if case]})

    def attempt(self, function, *values):
        """What it gives; None where the library panics, as its Strip decoder does over short tokens."""
        try:
            return function(*values)
        except BaseException as panic:  # PanicException is no Exception, and has no module
            if type(panic).__name__ != "PanicException":
                raise
            self.panics += 1
            return None

    def encoded(self, tokenizer, text):
        case = {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids}
        special = tokenizer.encode(text, add_special_tokens=True).ids
        if special != case["ids"]:
            case["special"] = special
        return self.decoded(tokenizer, case, special)

    @staticmethod
    def decoded(tokenizer, case, ids):
        case["decoded"] = tokenizer.decode(ids, skip_special_tokens=False)
        skipped = tokenizer.decode(ids, skip_special_tokens=True)
        if skipped != case["decoded"]:
            case["skipped"] = skipped
        return case

    def texts(self, count, *first):
        return [*first, *(self.text() for _ in range(count))]

    def every_part(self):
        for normalizer in [*NORMALIZERS, replace("b*", "-", "Regex"), replace("", "_")]:  # empty matches confuse the library's later steps
            self.add("cut", {"normalizer": normalizer}, self.texts(4, ""))
        for composed in ("NFC", "NFKC"):
            self.add("cut", {"normalizer": sequence("normalizers", {"type": composed}, {"type": "Lowercase"}), "pre_tokenizer": metaspace("first")},
                     ["E\u0301b", "A\u030a b", "\u00c9 a"])
        for pre_tokenizer in PRE_TOKENIZERS:
            name = "bytes" if pre_tokenizer["type"] == "ByteLevel" else "cut"
            self.add(name, {"pre_tokenizer": pre_tokenizer}, self.texts(3, "", "a-b--c-", "-a", "--"))
        for tokens in ADDED:
            for normalizer in (None, {"type": "NFC"}, LLAMA_NORMALIZER, {"type": "Lowercase"}):
                texts = self.texts(3, "a <x>  <y> b", "  <x><y>ab", "ab<x abc Ab")
                self.add("cut", {"added_tokens": self.numbered("cut", tokens), "normalizer": normalizer}, texts)
            self.add("bytes", {"added_tokens": self.numbered("bytes", tokens), "pre_tokenizer": byte_level(True, True), "decoder": DECODERS[1]}, self.texts(3))
            for scheme in ("always", "first", "never"):
                self.add("marked", {"added_tokens": self.numbered("marked", tokens), "pre_tokenizer": metaspace(scheme), "decoder": metaspace(scheme)},
                         self.texts(2, "ab<x>ab <y>ab", " ab"))
        for name in self.models:
            pre_tokenizer = byte_level(False, True) if name.startswith("bytes") else {"type": "WhitespaceSplit"}
            self.add(name, {"pre_tokenizer": pre_tokenizer}, self.texts(4, "ab aba abab abcab bcb", "x\u00e9x\u00e9y", "xx a yy"))
            self.add(name, {}, self.texts(4, "ab" * 40, "x" * 40, "ab a" + " " * 40 + "b"))
        for decoder in DECODERS:
            self.decoder(decoder)
        self.families()
        self.post_processors()
        self.special_spellings()

    def decoder(self, decoder, lists=4):
        size = len(self.models["pieces"]["vocab"])
        self.add("pieces", {"decoder": decoder}, [], [[self.random.randrange(size) for _ in range(self.random.randrange(0, 10))] for _ in range(lists)])

    def families(self):
        texts = ["Hello, ab world's 12901 tests!\n\n  'S done", "  ab\tabc \u4e2d\u6587 e\u0301", "\u00c9cole ABCdef camelCase x\u02b0y\u0301 /path/to// \r\n\r\n end "]
        for key, pattern in PATTERNS.items():
            for name in ("bytes", "bytes, whole words"):
                for normalizer in (None, {"type": "NFC"}):
                    self.add(name, {"normalizer": normalizer, "pre_tokenizer": sequence("pretokenizers", split(pattern, "Isolated"), byte_level()),
                                    "decoder": DECODERS[1]}, self.texts(2, *texts))
        digits = {"type": "Digits", "individual_digits": True}
        self.add("bytes", {"pre_tokenizer": sequence("pretokenizers", digits, byte_level(False, True)), "decoder": DECODERS[1]}, self.texts(2, *texts))
        for name in ("marked", "marked inside"):
            self.add(name, {"normalizer": LLAMA_NORMALIZER, "decoder": LLAMA_DECODER}, self.texts(2, *texts))
            self.add(name, {"normalizer": replace(" ", MARK), "pre_tokenizer": split(" ", "MergedWithPrevious", False, True),
                            "decoder": sequence("decoders", *LLAMA_DECODER["decoders"][:3])}, self.texts(2, *texts))
            for scheme in ("always", "first", "never"):
                self.add(name, {"pre_tokenizer": metaspace(scheme, False), "decoder": LLAMA_DECODER}, self.texts(2, *texts))

    def post_processors(self):
        tokens = self.numbered("bytes", [added("<s>", special=True), added("</s>", special=True), added("<x>")])
        ids = {token["content"]: token["id"] for token in tokens}
        begin, both = template(["<s>"], [], ids), template(["<s>"], ["</s>", "</s>"], ids)
        pair = {"sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]]}
        roberta = {"type": "RobertaProcessing", **pair, "trim_offsets": True, "add_prefix_space": False}
        for processor in (begin, both, template([], [], ids), {"type": "BertProcessing", **pair}, roberta, byte_level(), sequence("processors", byte_level(), begin),
                          sequence("processors", begin, both), sequence("processors", roberta, begin, byte_level()), {"type": "Sequence", "processors": []}):
            self.add("bytes", {"added_tokens": tokens, "pre_tokenizer": byte_level(), "decoder": DECODERS[1], "post_processor": processor}, self.texts(2, "", "ab<s> <x>"))

    def special_spellings(self):
        """Whether a token is left out as a special one goes by its normal form, which may be another token's."""
        tokens = self.numbered("cut", [added("<A>", special=True, normalized=True), added("<a>", special=True, normalized=True), added("<B>", special=True, normalized=True),
                                       added("<b>"), added("<C>", normalized=True)])
        size = len(self.models["cut"]["vocab"])
        for normalizer in (None, {"type": "Lowercase"}, {"type": "Prepend", "prepend": MARK}, replace("C", "B")):
            self.add("cut", {"added_tokens": tokens, "normalizer": normalizer}, [], [[0, size, 1, size + 1, 2, size + 2, 3, size + 3, 4, size + 4, 5]])

    def drawn(self, count):
        draw = self.random
        for _ in range(count):
            normalizers = [draw.choice(NORMALIZERS) for _ in range(draw.choice([0, 0, 1, 1, 2, 3]))]
            pre_tokenizers = [draw.choice(PRE_TOKENIZERS) for _ in range(draw.choice([0, 1, 1, 2, 3]))]
            decoders = [draw.choice(DECODERS[1:]) for _ in range(draw.choice([0, 1, 2, 3]))]
            name = draw.choice([name for name in self.models if name != "pieces"])
            if name.startswith("bytes"):
                pre_tokenizers.append(byte_level(draw.random() < 0.3, draw.random() < 0.3))
            tokens = draw.choice(ADDED) + draw.choice(ADDED) if draw.random() < 0.6 else []
            tokens = [{**token, draw.choice(FLAGS): draw.random() < 0.5} for token in tokens]
            normalizer = sequence("normalizers", *normalizers) if normalizers else None
            tokens = self.different(tokens, normalizer)
            self.add(name, {"added_tokens": self.numbered(name, tokens), "normalizer": normalizer,
                            "pre_tokenizer": sequence("pretokenizers", *pre_tokenizers) if pre_tokenizers else None,
                            "decoder": sequence("decoders", *decoders) if decoders else None}, self.texts(12))
            self.decoder(sequence("decoders", *decoders) if decoders else None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--random", nargs=2, type=int, metavar=("COUNT", "SEED"))
    given = parser.parse_args()
    reference = Reference(random.Random(given.random[1] if given.random else 1))
    if given.random:
        reference.drawn(given.random[0])
    else:
        reference.every_part()
    whole = {"made_by": f"tokenizers {tokenizers.__version__}", "models": reference.models, "tokenizers": reference.tokenizers}
    given.out.write_text(json.dumps(whole, separators=(",", ":"), ensure_ascii=False).replace('{"model":', '\n{"model":') + "\n")
    print(f"{len(reference.tokenizers)} tokenizers, {sum(len(t['cases']) for t in reference.tokenizers)} cases, {reference.panics} panics, "
          f"{given.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
