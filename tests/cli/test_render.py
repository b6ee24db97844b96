"""The verb render: text byte for byte, what training would learn, and refusals with their exit codes."""
import json
import unittest

from command import MODEL, CommandTest

CONVERSATION = [{"role": "user", "content": "Hi 🙂"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"},
                {"role": "assistant", "content": ""}]


class Render(CommandTest):
    def setUp(self):
        super().setUp()
        self.messages = self.write("messages.json", json.dumps({"messages": CONVERSATION, "tools": None}))

    def render(self, *flags, **more):
        return self.run_command("render", "--messages", self.messages, *flags, **more)

    def refuse(self, code, words, *flags):
        done = self.run_command("render", *flags, code=code)
        self.assertEqual(done.out, "")
        for word in words:
            self.assertIn(word, done.err)

    def test_text_is_written_byte_for_byte(self):
        template = self.write("t.jinja", "{% for m in messages %}\n{{ m.role[0] }}:{{ m.content }};{% endfor %}\n\n{{ bos_token }}|{{ eos_token }}\n")
        self.assertEqual(self.render("--template", template, "--bos-token", "<s>").out, "u:Hi 🙂;a:Hello;u:Bye;a:;\n<s>|")
        alone = self.write("alone.json", json.dumps(CONVERSATION[:1]))
        self.assertEqual(self.run_command("render", "--template", template, "--messages", alone, "--eos-token", "e").out, "u:Hi 🙂;\n|e")
        self.assertEqual(json.loads(self.render("--template", template, "--json").out), {"text": "u:Hi 🙂;a:Hello;u:Bye;a:;\n|"})

    def test_generation_prompt_moment_and_variables(self):
        template = self.write("t.jinja", "{{ add_generation_prompt }} {{ strftime_now('%d %b %Y %H:%M:%S') }} {{ tools[0] }} {{ extra }}")
        file = self.write("m.json", json.dumps({"messages": [], "tools": ["t"], "chat_template_kwargs": {"extra": [1]}, "other": 1}))
        done = self.run_command("render", "--template", template, "--messages", file, "--add-generation-prompt", "--now", "2024-07-26T12:34:56")
        self.assertEqual(done.out, "True 26 Jul 2024 12:34:56 t [1]")

    def test_mask(self):
        parts = [line.split(" ", 1) for line in self.render("--chat-template", "chatml", "--show-mask").out.splitlines()]
        self.assertEqual([kind for kind, _ in parts], ["given", "learnt", "given", "learnt", "given"])
        text = self.render("--chat-template", "chatml").out
        self.assertEqual("".join(json.loads(part) for _, part in parts), text)
        self.assertEqual([json.loads(part) for kind, part in parts if kind == "learnt"], ["Hello<|im_end|>", "<|im_end|>"])
        document = json.loads(self.render("--chat-template", "chatml", "--show-mask", "--json").out)
        self.assertEqual(document["text"], text)
        self.assertEqual([text[begin:end] for begin, end in document["spans"]], ["Hello<|im_end|>", "<|im_end|>"])

    def test_mask_without_marks_is_what_each_answer_adds(self):
        template = self.write("t.jinja", "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}{{ 'a:' if add_generation_prompt }}")
        self.assertEqual(self.render("--template", template, "--show-mask").out,
                         'given  "u:Hi 🙂;a:"\nlearnt "Hello;"\ngiven  "u:Bye;a:"\nlearnt ";"\n')
        turns = [{"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in CONVERSATION]
        shared = self.write("sharegpt.json", json.dumps({"conversations": turns}))
        self.assertEqual(self.run_command("render", "--template", template, "--messages", shared).out, self.render("--template", template).out)

    def test_the_models_own_template_and_tokens(self):
        folder = self.write("model/tokenizer_config.json", json.dumps({"bos_token": {"content": "<b>"}, "chat_template": "{{ bos_token }}{{ eos_token }}"})).parent
        self.assertEqual(self.render("--model", folder).out, "<b>")
        self.assertEqual(self.render("--model", folder, "--bos-token", "x", "--eos-token", "y").out, "xy")
        self.assertEqual(self.render("--model", folder, "--chat-template", "llama-3").out[:3], "<b>")

    def test_refusals(self):
        good = ["--chat-template", "chatml"]
        self.refuse(2, ["--messages is missing"], *good)
        self.refuse(2, ["one of --model, --template and --chat-template"], "--messages", self.messages)
        self.refuse(2, ["without --chat-template"], "--messages", self.messages, "--template", "x", *good)
        self.refuse(2, ["'nope'", "chatml"], "--messages", self.messages, "--chat-template", "nope")
        self.refuse(1, ["nope.jinja"], "--messages", self.messages, "--template", "nope.jinja")
        self.refuse(1, ["nope"], "--messages", "nope", *good)
        self.refuse(5, ["has no chat template"], "--messages", self.messages, "--model", MODEL)
        for text, words in [("5", ["messages"]), ("{}", ["messages"]), ('{"messages": 1}', ["must be an array, found an integer"]), ("[", ["line 1"]),
                            ('{"messages": [], "tools": {}}', ["tools"]), ('{"messages": null}', ["messages"])]:
            self.refuse(3, ["bad.json", *words], "--messages", self.write("bad.json", text), *good)
        for text, code, words in [("{{ raise_exception('not ' ~ messages|length) }}", 3, ["the template refuses: not 4"]), ("\n{{ 1 // 0 }}", 3, ["line 2, column 6"]),
                                  ("{{ x|nope }}", 3, ["'nope'", "line 1, column 6"]), ("{% include 'x' %}", 5, ["include"]),
                                  ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 3, ["levels"]), ("{{ strftime_now('%Y') }}", 2, ["yesterday"])]:
            template = self.write("bad.jinja", text)
            self.refuse(code, ["bad.jinja", *words], "--messages", self.messages, "--template", template, "--now", "yesterday")
        plain = self.write("plain.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}{{ 'end' if not add_generation_prompt }}")
        self.refuse(5, ["messages.json: ", "plain.jinja", "it writes 2 messages in another way", "generation"], "--messages", self.messages, "--template", plain, "--show-mask")
        self.refuse(2, ["--show-mask"], "--messages", self.messages, "--template", plain, "--show-mask", "--add-generation-prompt")
        nobody = self.write("nobody.json", json.dumps(CONVERSATION[:1]))
        self.refuse(3, ["nobody.json: no message has the role"], "--messages", nobody, "--template", plain, "--show-mask")


if __name__ == "__main__":
    unittest.main()
