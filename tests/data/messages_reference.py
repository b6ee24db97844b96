#!/usr/bin/env python3
"""Ids and assistant masks that Transformers makes of conversations, with real chat templates and tokenizers.

usage: messages_reference.py SHARED OUT.json      (needs transformers)

Every template of SHARED/data/chat_templates with every tokenizer of SHARED/data/tokenizers, over conversations of our own.
ids: apply_chat_template(tokenize=True). mask: where the template has {% generation %}, the tokens whose characters (offsets without
trim_offsets) the blocks share, held here against return_assistant_tokens_mask; the two may differ only where Transformers looks up a character that
it does not find (a space that offsets were trimmed by) or finds in the first of several tokens (a character cut into bytes). Elsewhere: the
tokens that share a character of what the template adds to the beginning of the conversation and the generation prompt; "refused" where one of
these is not a beginning of the whole.
OUT.json: versions; conversations; per template and tokenizer a row per conversation: [number of ids, FNV-1a of the ids as 32-bit numbers, mask as
[begin, end) of tokens], or "error" where the template raises, or "refused". as_transformers: masks compared, and equal. Nothing of SHARED is in it.
"""
import datetime
import json
import struct
import sys
from pathlib import Path

import tokenizers
import transformers
from transformers.utils import chat_template_utils as ct


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def say(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return {"messages": [{"role": roles[turn[0]], "content": turn[1:]} for turn in turns]}


TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "a1b2c3d4e", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}]}
CONVERSATIONS = [
    say("uHi", "aHello there."),
    say("sBe brief.", "uWhat is 2 + 2?", "a4"),
    say("uHi", "aHello!", "uAnd now?", "aGood-bye.", "uOnce more", "aNo."),
    say("sYou are kind.\nVery.", "u  spaces  ", "a  around  ", "u\n\nlines\n", "a\n\nand lines\n\n"),
    say("uemoji", "awell 🙂", "uagain", "a👩‍🚀"),
    say("u你好", "a你好，世界", "unaïve?", "acafé Größe"),
    say("ue\u0301te\u0301", "aA\u030angstro\u0308m is a unit"),
    say("ucode", "adef f(x):\n    return x ** 2\n"),
    say("uempty", "a"),
    say("uHi", "aHello", "uunanswered"),
    say("a first", "uthen"),
    say("uone", "utwo", "athree"),
    say("uthink", "a<think>\nhm, 2 + 2\n</think>\n\n4", "uand?", "a5"),
    say("uquote </s> <|im_end|> <|eot_id|>", "a<|im_start|>assistant\n[/INST] <end_of_turn>"),
    {"messages": [*say("uWeather?")["messages"], CALL, {"role": "tool", "name": "weather", "tool_call_id": "a1b2c3d4e", "content": "12 degrees"}, *say("aIt is 12 degrees.")["messages"]],
     "tools": [TOOL]},
    {**say("uHi", "aHello"), "chat_template_kwargs": {"enable_thinking": False, "date_string": "1 Jan 2020"}},
    say("u" + "word " * 40, "a" + "answer, " * 30, "uok", "a" + "more. " * 20),
]


def fnv(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def load(path, trim):
    model = json.loads(path.read_text(encoding="utf-8"))

    def walk(part):
        if isinstance(part, dict):
            if "trim_offsets" in part and not trim:
                part["trim_offsets"] = False
            for value in part.values():
                walk(value)
        if isinstance(part, list):
            for value in part:
                walk(value)
    walk(model["post_processor"])
    return tokenizers.Tokenizer.from_str(json.dumps(model))


def ranges(mask):
    found = []
    for i, on in enumerate(mask):
        if on and found and found[-1][1] == i:
            found[-1][1] = i + 1
        elif on:
            found.append([i, i + 1])
    return found


def spans_by_growth(render, messages):
    whole, spans = render(messages, False), []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, after = render(messages[:i], True), render(messages[:i + 1], False)
        if not whole.startswith(before) or not whole.startswith(after):
            return whole, None
        spans.append((len(before), len(after)))
    return whole, spans


def row(tokenizer, plain, template, conversation, counts):
    messages, tools = conversation["messages"], conversation.get("tools")
    variables = conversation.get("chat_template_kwargs", {})
    more = dict(variables, chat_template=template, tools=tools)

    def jinja(part, prompt, marks):  # apply_chat_template itself wants at least one message
        return ct.render_jinja_template(conversations=[part], tools=tools, chat_template=template, return_assistant_tokens_mask=marks, add_generation_prompt=prompt,
                                        **tokenizer.special_tokens_map, **variables)

    def render(part, prompt):
        return jinja(part, prompt, False)[0][0]
    try:
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **more)["input_ids"]
        marks = "{% generation" in template or "{%- generation" in template
        if marks:
            (text,), (spans,) = jinja(messages, False, True)
        else:
            text, spans = spans_by_growth(render, messages)
    except Exception:  # Python's own wording of a fault is not compared
        return "error"
    encoded = plain.encode(text, add_special_tokens=False)
    assert encoded.ids == ids
    if not any(m["role"] == "assistant" for m in messages):
        return "error"
    if spans is None:
        return "refused"
    mask = [any(b < end and e > begin for begin, end in spans) for b, e in encoded.offsets]
    if marks:
        theirs = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **more)["assistant_masks"]
        counts["masks"] += 1
        counts["equal"] += [bool(m) for m in theirs] == mask
        if [bool(m) for m in theirs] != mask:
            odd = any(text[begin].isspace() or text[end - 1].isspace() or sum(b < end and e > end - 1 for b, e in encoded.offsets) > 1 for begin, end in spans if end > begin)
            assert odd, (text, spans, ranges(mask), ranges(theirs))
    return [len(ids), fnv(ids), ranges(mask)]


def main():
    shared, out = Path(sys.argv[1]), sys.argv[2]
    ct.datetime = Fixed  # what strftime_now asks
    tokens = json.loads((shared / "data/chat_templates/tokens.json").read_text(encoding="utf-8"))
    counts, rows = {"masks": 0, "equal": 0}, {}
    for template in sorted((shared / "data/chat_templates").glob("*.jinja")):
        rows[template.stem] = {}
        for path in sorted((shared / "data/tokenizers").glob("*/tokenizer.json")):
            special = tokens.get(template.stem, {"bos_token": "<s>", "eos_token": "</s>"})
            special = {name: special.get(name) for name in ("bos_token", "eos_token")}
            plain = load(path, False)
            fast = transformers.PreTrainedTokenizerFast(tokenizer_object=load(path, True))
            # Tokens that the tokenizer does not have are not added to it: they are text for it.
            variables = {name: token for name, token in special.items() if token is not None}
            type(fast).special_tokens_map = property(lambda self, v=variables: v)
            rows[template.stem][path.parent.name] = [row(fast, plain, template.read_text(encoding="utf-8"), c, counts) for c in CONVERSATIONS]
    lines = [f'  "{t}": {{\n' + ",\n".join(f'   "{k}": ' + json.dumps(r, separators=(",", ":")) for k, r in by.items()) + "\n  }" for t, by in rows.items()]
    head = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "now": "2024-07-26", "as_transformers": counts}
    Path(out).write_text("{" + json.dumps(head)[1:-1] + ',\n "conversations": [\n' + ",\n".join("  " + json.dumps(c) for c in CONVERSATIONS) + '\n ],\n "rows": {\n'
                         + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
    flat = [r for by in rows.values() for column in by.values() for r in column]
    print(counts, len(flat), "rows,", flat.count("error"), "errors,", flat.count("refused"), "refused,", sum(r[0] for r in flat if isinstance(r, list)), "ids")


main()
