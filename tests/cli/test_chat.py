"""The verb chat: lines from a file, whose answers are those of generate, and a person's at a pseudo-terminal: edited, stopped, repeated."""
import fcntl
import json
import os
import pty
import select
import shutil
import subprocess
import termios
import time
import unittest

from command import COMMAND, MODEL, CommandTest

FLAGS = ("--model", MODEL, "--chat-template", "zephyr")
HI, AND = "Two pears for Ann", "and a fig?"


class Lines(CommandTest):
    def chat(self, lines, *flags, **more):
        return self.run_command("chat", *FLAGS, *flags, stdin="".join(line + "\n" for line in lines), **more)

    def texts(self, lines, *flags):
        return [json.loads(line)["text"] for line in self.chat(lines, "--json", *flags).out.splitlines()]

    def generate(self, messages, *flags):
        file = self.write("messages.json", json.dumps(messages))
        return json.loads(self.run_command("generate", *FLAGS, "--messages", file, "--json", *flags).out)["text"]

    def test_answers_are_those_of_generate_though_little_is_read_again(self):
        for flags in ((), ("--precision", "bf16", "--threads", 1)):
            messages, wanted = [{"role": "system", "content": "Be brief."}], []
            for line in (HI, AND, "ünïcödé 🙂", HI):
                messages.append({"role": "user", "content": line})
                wanted.append(self.generate(messages, "--max-new-tokens", 20, *flags))
                messages.append({"role": "assistant", "content": wanted[-1]})
            self.assertEqual(self.texts([HI, AND, "ünïcödé 🙂", HI], "--system", "Be brief.", "--max-new-tokens", 20, *flags), wanted)
            self.assertGreater(len(set(wanted)), 2)

    def test_a_conversation_that_outgrows_its_room(self):
        lines = [HI, "x" * 2300, AND]  # tokens of a letter, more than the room that is spared
        texts, messages = self.texts(lines, "--max-new-tokens", 3), []
        for line, text in zip(lines, texts):
            messages += [{"role": "user", "content": line}, {"role": "assistant", "content": text}]
        self.assertEqual(self.generate(messages[:-1], "--max-new-tokens", 3), texts[-1])

    def test_commands_and_plain_lines(self):
        first = self.texts([HI], "--max-new-tokens", 8)[0]
        self.assertEqual(self.texts([HI, AND, "/reset", HI, "/quit", HI], "--max-new-tokens", 8)[::2], [first, first])
        done = self.chat(["", HI, "   ", "/nope", "/help"], "--max-new-tokens", 8)
        self.assertEqual(done.out, first + "\n")  # no prompt, nothing for an empty line
        self.assertIn("no command /nope", done.err)
        self.assertIn("/reset", done.err)
        self.assertEqual(self.run_command("chat", *FLAGS, "--max-new-tokens", 8, stdin=HI).out, first + "\n")  # no line break at the end
        self.assertEqual(self.run_command("chat", *FLAGS, stdin="").out, "")

    def test_sampling_is_by_the_seed(self):
        some = ("--temperature", 2, "--max-new-tokens", 12)
        one = self.texts([HI, HI], *some)
        self.assertEqual(self.texts([HI, HI], *some), one)
        self.assertNotEqual(self.texts([HI, HI], *some, "--seed", 1), one)
        self.assertEqual(self.texts([HI, "/reset", HI], *some)[1], one[0])

    def test_refusals(self):
        self.refuse(5, ["has no chat template", "--chat-template"], "chat", "--model", MODEL, stdin=HI)
        self.refuse(2, ["'nope'"], "chat", "--model", MODEL, "--chat-template", "nope", stdin=HI)
        self.refuse(2, ["--model"], "chat", stdin=HI)
        template = self.write("t.jinja", "{{ raise_exception('never') }}")
        self.refuse(3, ["the template refuses: never"], "chat", "--model", MODEL, "--chat-template", template, stdin=HI)
        self.refuse(3, ["UTF-8"], "chat", *FLAGS, stdin=b"\xff\xfe\n")
        folder = self.write("bare/config.json", (MODEL / "config.json").read_text()).parent
        (folder / "model.safetensors").symlink_to(MODEL / "model.safetensors")
        self.refuse(3, ["tokenizer.json"], "chat", "--model", folder, "--chat-template", "zephyr", stdin=HI)


class Terminal(CommandTest):
    def setUp(self):
        super().setUp()
        try:
            self.outer, inner = pty.openpty()
        except OSError as why:  # a bare chroot has no /dev/pts
            self.skipTest(f"no terminal to be had: {why}")
        self.addCleanup(os.close, self.outer)
        self.seen, self.answers = b"", b""

        def on_terminal():
            os.setsid()
            fcntl.ioctl(inner, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen([COMMAND, "chat", *self.flags()], cwd=self.folder, stdin=inner, stderr=inner, stdout=subprocess.PIPE,
                                        preexec_fn=on_terminal, env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", "HOME": str(self.folder)})
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.kill)
        os.close(inner)
        self.until(lambda: self.seen.endswith(b"> "))

    def flags(self):
        return (*FLAGS, "--max-new-tokens", "8")

    def until(self, reached, seconds=60):
        """Reads what comes until reached() is true."""
        end = time.monotonic() + seconds
        while not reached():
            self.assertLess(time.monotonic(), end, (self.seen[-300:], self.answers[-300:]))
            for ready in select.select([self.outer, self.process.stdout], [], [], 0.2)[0]:
                try:
                    if ready == self.outer:
                        self.seen += os.read(self.outer, 65536)
                    else:
                        self.answers += os.read(self.process.stdout.fileno(), 65536)
                except OSError:  # the other side is closed
                    return

    def type(self, keys):
        self.seen = b""
        os.write(self.outer, keys)

    def answer_to(self, keys):
        before = len(self.answers)
        self.type(keys)
        self.until(lambda: self.answers[before:].endswith(b"\n") and self.seen.endswith(b"> "))
        return self.answers[before:].decode()

    def ends(self, keys):
        self.type(keys)
        self.assertEqual(self.process.wait(60), 0)


class Person(Terminal):
    def plain(self, lines, *flags):
        return self.run_command("chat", *FLAGS, "--max-new-tokens", 8, *flags, stdin="".join(line + "\n" for line in lines)).out

    def test_lines_are_edited_and_come_again(self):
        wanted = self.plain([HI])
        # Backspace, an arrow to the left, the beginning of the line.
        self.assertEqual(self.answer_to(b"wo parss\x7f\x1b[D\x1b[De\x05 for Ann\x01T\r"), wanted)
        self.assertEqual(self.answer_to("ünïcödéx\x7f 🙂\r".encode()), self.plain([HI, "ünïcödé 🙂"])[len(wanted):])
        self.type(b"/reset\r")
        self.until(lambda: self.seen.endswith(b"> "))
        self.assertEqual(self.answer_to(b"\x1b[A\x1b[A\x1b[A\r"), wanted)  # the line before the line before /reset
        self.type(b"/help\r")
        self.until(lambda: b"/reset   begin anew" in self.seen and self.seen.endswith(b"> "))
        self.ends(b"/quit\r")

    def test_control_c_drops_a_line_and_control_d_ends(self):
        self.type(b"nonsense\x03")
        self.until(lambda: b"^C" in self.seen and self.seen.endswith(b"> "))
        self.type(b"\x03")
        self.until(lambda: b"^C" in self.seen and self.seen.endswith(b"> "))
        self.assertEqual(self.answer_to(HI.encode() + b"\r"), self.plain([HI]))
        self.assertIsNone(self.process.poll())
        self.ends(b"\x04")


class Endless(Terminal):
    """A model whose end token is one that it never gives, with a template that ends an answer by a line break."""
    def flags(self):
        self.model = shutil.copytree(MODEL, self.folder / "model")
        for name in ("config.json", "generation_config.json"):
            config = json.loads((self.model / name).read_text())
            config["eos_token_id"] = config.get("vocab_size", 1) - 1
            (self.model / name).write_text(json.dumps(config))
        config = json.loads((self.model / "tokenizer_config.json").read_text())
        del config["eos_token"]
        (self.model / "tokenizer_config.json").write_text(json.dumps(config))
        (self.model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ 'assistant:' if add_generation_prompt }}")
        return ("--model", self.model, "--max-new-tokens", "20000")

    def test_control_c_stops_the_answer_and_not_the_program(self):
        self.type(HI.encode() + b"\r")
        self.until(lambda: len(self.answers) > 20)
        self.type(b"\x03")
        self.until(lambda: self.answers.endswith(b"\n") and self.seen.endswith(b"> "))
        self.assertLess(len(self.answers), 100000)
        self.assertIsNone(self.process.poll())
        stopped = self.answers.decode()[:-1]
        # What came of the answer is part of the conversation: the next one is what generate makes of it.
        before = len(self.answers)
        self.type(AND.encode() + b"\r")
        self.until(lambda: len(self.answers) > before + 8)
        self.type(b"\x03")
        self.until(lambda: self.answers.endswith(b"\n") and self.seen.endswith(b"> "))
        messages = [{"role": "user", "content": HI}, {"role": "assistant", "content": stopped}, {"role": "user", "content": AND}]
        file = self.write("messages.json", json.dumps(messages))
        more = json.loads(self.run_command("generate", "--model", self.model, "--messages", file, "--json", "--max-new-tokens", 4).out)["text"]
        self.assertTrue(self.answers[before:].decode().startswith(more), (self.answers[before:before + 80], more))
        self.ends(b"/quit\r")


if __name__ == "__main__":
    unittest.main()
