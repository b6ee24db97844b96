"""Rows of messages through train, eval and score: what is learnt, the same bits after a resume, and refusals with their line."""
import json
import math
import re
import shutil
import unittest

from command import HELD_OUT, MODEL, ROWS, CommandTest, lines_of

SMALL = ("--batch-size", 2, "--save-steps", 2, "--r", 2, "--target-modules", "q_proj", "--stability-every", 0)


def messages_of(row):
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]


class Messages(CommandTest):
    def setUp(self):
        super().setUp()
        self.rows = self.write("rows.jsonl", "".join(json.dumps({"messages": messages_of(row)}) + "\n" for row in lines_of(ROWS)[:12]))

    def train(self, data, directory, *flags):
        self.run_command("train", "--model", MODEL, "--data", data, "--output-dir", directory, *SMALL, *flags)
        return (self.folder / directory / "adapter_model.safetensors").read_bytes()

    def ids_of(self, file, *flags):
        return [json.loads(line)["ids"] for line in self.run_command("score", "--model", MODEL, "--data", file, *flags).out.splitlines()]

    def test_training_is_that_of_the_ids_and_labels_that_show_mask_tells(self):
        """The mask's parts, encoded one by one (no token of this text lies across a border), as rows of ids."""
        def encode(text):
            return json.loads(self.run_command("tokenize", "--model", MODEL, "--no-special-tokens", stdin=text).out)
        rows = []
        for line in self.rows.read_text(encoding="utf-8").splitlines()[:4]:
            file = self.write("one.json", line)
            ids, labels = [], []
            for part in self.run_command("render", "--model", MODEL, "--chat-template", "zephyr", "--messages", file, "--show-mask").out.splitlines():
                kind, text = part.split(None, 1)
                new = encode(json.loads(text))
                ids += new
                labels += new if kind == "learnt" else [-100] * len(new)
            rows.append(json.dumps({"input_ids": ids, "labels": labels}) + "\n")
        few = self.few_rows(4, "few.jsonl", self.rows)
        plain = self.write("ids.jsonl", "".join(rows))
        self.assertEqual(self.ids_of(few, "--chat-template", "zephyr"), self.ids_of(plain))
        self.assertEqual(self.train(few, "a", "--chat-template", "zephyr"), self.train(plain, "b"))
        end = json.loads((MODEL / "tokenizer_config.json").read_text())["eos_token"]
        self.assertEqual(json.loads(rows[0])["labels"].count(encode(end)[0]), 1)

    def test_sharegpt_a_file_of_a_template_and_every_token(self):
        turns = [[{"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in messages_of(row)] for row in lines_of(ROWS)[:12]]
        shared = self.write("sharegpt.json", json.dumps([{"conversations": t} for t in turns]))
        plain = self.write("t.jinja", "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}{{ '<assistant>' if add_generation_prompt }}")
        marked = self.write("m.jinja", "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
                                       "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}")
        first = self.train(self.rows, "a", "--chat-template", plain)
        self.assertEqual(first, self.train(self.rows, "b", "--chat-template", marked))
        self.assertEqual(first, self.train(shared, "c", "--chat-template", marked))
        self.assertNotEqual(first, self.train(self.rows, "d", "--chat-template", plain, "--no-completion-only-loss"))
        inputs = json.loads((self.folder / "a" / "run.json").read_text())["inputs"]
        self.assertIn(str(plain), inputs)

    def test_a_resumed_run_is_the_whole_one_and_another_template_is_refused(self):
        template = self.write("t.jinja", "{{ strftime_now('%d %b %Y') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
                                         "{{ '<assistant>' if add_generation_prompt }}")
        whole = self.train(self.rows, "run", "--chat-template", template)
        (self.folder / "run" / "adapter_model.safetensors").unlink()
        self.assertTrue((self.folder / "run" / "checkpoint-4").is_dir())
        self.assertEqual(self.train(self.rows, "run", "--chat-template", template, "--resume-from-checkpoint", "latest"), whole)
        template.write_text(template.read_text() + "{# another #}")
        again = ("train", "--model", MODEL, "--data", self.rows, "--output-dir", "run", *SMALL, "--resume-from-checkpoint", "latest")
        self.refuse(2, ["t.jinja"], *again, "--chat-template", template)
        self.refuse(2, ["chat_template"], *again, "--chat-template", "zephyr")

    def test_eval_takes_the_last_answer(self):
        rows = [{"messages": messages_of(row)} for row in lines_of(HELD_OUT)[:3]]
        file = self.write("held-out.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        loss = json.loads(self.run_command("eval", "--model", MODEL, "--data", file, "--chat-template", "zephyr", "--json").out)
        self.assertEqual(loss["rows"], 3)
        self.assertTrue(math.isfinite(loss["loss"]))
        self.run_command("eval", "--model", MODEL, "--data", file, "--chat-template", "zephyr", "--task", "exact-match", "--per-row", "a.jsonl")
        # The same prompts as texts: what the template makes of all but the answer.
        plain = []
        for row in rows:
            one = self.write("one.json", json.dumps({"messages": row["messages"][:1]}))
            text = self.run_command("render", "--model", MODEL, "--chat-template", "zephyr", "--messages", one, "--add-generation-prompt").out
            plain.append(json.dumps({"prompt": text, "completion": row["messages"][1]["content"]}) + "\n")
        self.write("plain.jsonl", "".join(plain))
        model = shutil.copytree(MODEL, self.folder / "model")  # one whose tokenizer puts nothing in front
        tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer["post_processor"] = None
        (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
        self.run_command("eval", "--model", model, "--data", "plain.jsonl", "--task", "exact-match", "--per-row", "b.jsonl")
        self.assertEqual([row["wanted"] for row in lines_of(self.folder / "a.jsonl")], [row["messages"][1]["content"].strip() for row in rows])
        for a, b in zip(lines_of(self.folder / "a.jsonl"), lines_of(self.folder / "b.jsonl")):
            shorter = min(len(a["completion"]), len(b["completion"]))
            self.assertTrue(shorter)
            self.assertEqual(a["completion"][:shorter], b["completion"][:shorter])

    def test_generate_answers_what_the_template_makes(self):
        messages = self.write("messages.json", json.dumps({"messages": messages_of(lines_of(HELD_OUT)[0])[:1]}))
        flags, some = ("--messages", messages, "--chat-template", "zephyr"), ("--max-new-tokens", 24, "--temperature", 2, "--seed", 1)
        text = self.run_command("render", "--model", MODEL, *flags, "--add-generation-prompt").out
        ids = json.loads(self.run_command("tokenize", "--model", MODEL, "--no-special-tokens", stdin=text).out)
        plain = json.loads(self.run_command("generate", "--model", MODEL, "--prompt-ids", ",".join(map(str, ids)), *some, "--json").out)
        made = json.loads(self.run_command("generate", "--model", MODEL, *flags, *some, "--json").out)
        self.assertEqual(made, plain)
        # What the template writes behind an answer ends one, where it is a token of its own: here one that the model is about to give.
        model = shutil.copytree(MODEL, self.folder / "model")
        tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
        spelt = {i: piece for piece, i in tokenizer["model"]["vocab"].items()}
        at = next(i for i, id in enumerate(plain["ids"]) if i > 0 and id > 9 and id not in ids + plain["ids"][:i])
        tokenizer["added_tokens"].append({"id": plain["ids"][at], "content": spelt[plain["ids"][at]], "special": False, "normalized": False, "single_word": False,
                                          "lstrip": False, "rstrip": False})
        (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
        template = self.write("end.jinja", "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}{{ ' ' + end if m.role == 'assistant' else eos_token }}\n{% endfor %}"
                                           "{% if add_generation_prompt %}<|assistant|>\n{% endif %}".replace("end if", repr(spelt[plain["ids"][at]]) + " if"))
        ended = json.loads(self.run_command("generate", "--model", model, "--messages", messages, "--chat-template", template, *some, "--json").out)
        self.assertEqual(ended["ids"], plain["ids"][:at])
        self.refuse(2, ["exclude one another"], "generate", "--model", MODEL, *flags, "--prompt", "x")
        self.refuse(2, ["--messages"], "generate", "--model", MODEL)
        self.refuse(5, ["has no chat template"], "generate", "--model", MODEL, "--messages", messages)
        self.refuse(3, ["empty.json", "no messages"], "generate", "--model", MODEL, "--messages", self.write("empty.json", "[]"), "--chat-template", "zephyr")
        self.refuse(3, ["odd.json: ", "take turns"], "generate", "--model", MODEL, "--chat-template", "gemma",
                    "--messages", self.write("odd.json", json.dumps([{"role": "assistant", "content": "a"}])))

    def test_words_that_end_an_answer_end_it(self):
        """The template ends an answer by words that the model is about to say, and that come in several tokens."""
        messages = self.write("messages.json", json.dumps({"messages": messages_of(lines_of(HELD_OUT)[0])[:1]}))
        template = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}{{ END if m.role == 'assistant' else eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
        def made(end, *flags):
            file = self.write("t.jinja", template.replace("END", repr(end)))
            done = self.run_command("generate", "--model", MODEL, "--messages", messages, "--chat-template", file, "--temperature", 2, "--seed", 1, "--max-new-tokens", 40, *flags)
            return done.out[:-1]
        whole = made("")
        words = re.search(r"\S{5}", whole[4:]).group()
        self.assertEqual(made(words), whole[:whole.index(words)])
        self.assertEqual(made(words, "--ignore-eos")[:len(whole)], whole)
        self.assertEqual(made(words[:3] + "never" + "\nmore"), whole)
        chat = self.run_command("chat", "--model", MODEL, "--chat-template", "t.jinja", "--max-new-tokens", 12, stdin="Two pears").out
        self.assertNotEqual(chat, "\n")

    def test_a_template_whose_answers_do_not_end_in_a_token_is_told(self):
        few = self.few_rows(1, "few.jsonl", self.rows)
        for name, told in (("chatml", True), ("zephyr", False)):
            done = self.run_command("train", "--model", MODEL, "--data", few, "--chat-template", name, "--dry-run")
            self.assertEqual("warning: the chat template ends an answer" in done.err, told, done.err)

    def test_refusals(self):
        def refuse(code, words, text, *flags):
            bad = self.write("bad.jsonl", text)
            for verb in (["train", "--output-dir", "x"], ["eval"]):
                self.refuse(code, ["bad.jsonl line ", *words], *verb, "--model", MODEL, "--data", bad, *flags)
        good = json.dumps({"messages": messages_of(lines_of(ROWS)[0])}) + "\n"
        refuse(5, ["line 1", "has no chat template", "--chat-template"], good)
        refuse(3, ["line 2", "message 1", "\"content\"", "found an integer"], good + '{"messages": [{"role": "user", "content": 1}]}', "--chat-template", "chatml")
        refuse(5, ["line 1", "\"image\""], '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "--chat-template", "chatml")
        refuse(3, ["line 2", "there are no messages"], good + '{"messages": []}', "--chat-template", "chatml")
        refuse(3, ["line 1", "\"alien\""], '{"conversations": [{"from": "alien", "value": ""}]}', "--chat-template", "chatml")
        refuse(3, ["line 2", "\"assistant\""], good + '{"messages": [{"role": "user", "content": "a"}]}', "--chat-template", "chatml")
        twice = {"messages": [{"role": "user", "content": "a"}] * 2 + [{"role": "assistant", "content": "b"}]}
        refuse(3, ["line 2", "take turns"], good + json.dumps(twice), "--chat-template", "gemma")
        self.refuse(2, ["'nope'"], "train", "--model", MODEL, "--data", self.rows, "--output-dir", "x", "--chat-template", "nope")
        self.refuse(2, ["yesterday"], "train", "--model", MODEL, "--data", self.rows, "--output-dir", "x", "--now", "yesterday",
                    "--chat-template", self.write("now.jinja", "{{ strftime_now('%Y') }}"))


if __name__ == "__main__":
    unittest.main()
