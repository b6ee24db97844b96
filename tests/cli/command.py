"""What the tests of the command share: running it, and the embedded model. No test by itself."""
import json
import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ["STLORA_SOURCE"])
COMMAND = Path(os.environ["STLORA_BUILD"]) / "stable-lora"
MODEL = SOURCE / "demo" / "model"
ROWS = SOURCE / "demo" / "data" / "train.jsonl"
HELD_OUT = SOURCE / "demo" / "data" / "test.jsonl"


class CommandTest(unittest.TestCase):
    """A test with a folder of its own, in which the command runs: behind `runner`, the words of a program that runs programs."""
    runner = ()

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="stlora-cli-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def run_command(self, *arguments, stdin="", code=0, **options):
        """The finished process; its exit code is `code`."""
        options.setdefault("stdout", subprocess.PIPE)
        done = subprocess.run([*self.runner, COMMAND, *map(str, arguments)], cwd=self.folder, stderr=subprocess.PIPE,
                              input=stdin.encode() if isinstance(stdin, str) else stdin, check=False, **options)
        done.err = done.stderr.decode(errors="replace")
        done.out = done.stdout.decode(errors="replace") if done.stdout is not None else ""
        self.assertEqual(done.returncode, code, f"{arguments}: {done.err}")
        return done

    def refuse(self, code, words, *arguments, **options):
        """The command ends with `code`, prints nothing on stdout and one sentence holding every word of `words`."""
        done = self.run_command(*arguments, code=code, **options)
        self.assertEqual(done.out, "")
        sentences = [line for line in done.err.splitlines() if line.startswith("stable-lora: ")]
        self.assertTrue(sentences, done.err)
        for word in words:
            self.assertIn(word, sentences[-1])
        self.assertFalse(sentences[-1].endswith("."), sentences[-1])
        return done

    def start(self, *arguments):
        """A running process."""
        return subprocess.Popen([COMMAND, *map(str, arguments)], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def few_rows(self, count, name="rows.jsonl", source=ROWS):
        return self.write(name, "".join(source.read_text(encoding="utf-8").splitlines(keepends=True)[:count]))


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
