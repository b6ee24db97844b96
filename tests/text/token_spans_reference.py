#!/usr/bin/env python3
"""Which tokens hold spans of a text, by the offsets of Hugging Face's tokenizers.

usage: token_spans_reference.py SHARED OUT.json      (needs tokenizers)

For each SHARED/data/tokenizers/<name>/tokenizer.json texts of our own with spans at random places. Offsets are taken without trim_offsets, by
which the library leaves out the space that a token begins with. A token holds a span when its offsets and the span share a character.
No border lies before a combining mark: there the library gives a composed character to what stands before.
OUT.json: version; for each tokenizer [text, ids, cases], each case [begin, end, first, past] in code points and tokens (first = past: none).
"""
import json
import random
import sys
import unicodedata
from pathlib import Path

import tokenizers

TEXTS = [
    "Hello, world! How are you today?", "  leading and trailing  ", "a\n\nb\n\n\nc\t\td", "user: Hi\nassistant: Hello there.\nuser: Bye\n", "The year 2024, 31.12.; 1234567890",
    "naïve café Größe Ελληνικά Привет", "你好，世界。今天天气很好", "👩‍🚀 emoji 🙂🙃 end 🎉", "e\u0301te\u0301 A\u030angstro\u0308m", "don't can't we'll I'm they've",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n", "<s>[INST] Hi [/INST] Hello </s><s>[INST] Bye [/INST] Bye!</s>",
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>",
    "def f(x):\n    return {'a': x ** 2}\n", "https://example.org/a?b=c&d=%20", "                    x", "한국어 문장입니다. हिन्दी ไทย", "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "\u1100\u1161\u11a8 \ufb01 \u00bd", "<|endoftext|>x<|endoftext|>", "tab\tnew\r\nline", "...---...!!!???", "ab" * 40, " ", "x",
]


def tokenizer(path):
    model = json.loads(path.read_text(encoding="utf-8"))

    def untrim(part):
        if isinstance(part, dict):
            if "trim_offsets" in part:
                part["trim_offsets"] = False
            for value in part.values():
                untrim(value)
        if isinstance(part, list):
            for value in part:
                untrim(value)
    untrim(model["post_processor"])
    return tokenizers.Tokenizer.from_str(json.dumps(model))


def held(offsets, begin, end):
    hit = [i for i, (b, e) in enumerate(offsets) if b < end and e > begin]
    if not hit or begin == end:
        return [0, 0]
    assert hit == list(range(hit[0], hit[-1] + 1))
    return [hit[0], hit[-1] + 1]


def main():
    shared, out = Path(sys.argv[1]), sys.argv[2]
    result = {"tokenizers": tokenizers.__version__, "models": {}}
    for path in sorted((shared / "data" / "tokenizers").glob("*/tokenizer.json")):
        tok, random_numbers, texts = tokenizer(path), random.Random(7), []
        for text in TEXTS:
            encoded = tok.encode(text, add_special_tokens=False)
            cases = []
            places = [i for i in range(len(text) + 1) if i == len(text) or not unicodedata.combining(text[i])]
            for _ in range(16):
                begin, end = sorted((random_numbers.choice(places), random_numbers.choice(places)))
                cases.append([begin, end, *held(encoded.offsets, begin, end)])
            texts.append([text, encoded.ids, cases])
        result["models"][path.parent.name] = texts
    lines = [f' "{name}": [\n' + ",\n".join("  " + json.dumps(t, separators=(",", ":")) for t in texts) + "\n ]" for name, texts in result["models"].items()]
    Path(out).write_text(f'{{"tokenizers": "{result["tokenizers"]}", "models": {{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


main()
