"""What the command says and how it ends when it is given what it cannot use: exit 1, 2, 3 or 5 and one sentence, never a stack trace."""
import os
import subprocess
import unittest

from command import COMMAND, MODEL, ROWS, CommandTest


class Usage(CommandTest):
    def test_verbs(self):
        self.refuse(2, ["wanted a verb"])
        self.refuse(2, ["no verb", "trian", '"train"'], "trian")
        self.refuse(2, ["no verb", "frobnicate", "--help"], "frobnicate")
        self.refuse(2, ["no verb", "merge"], "merge")
        self.refuse(2, ["no verb", "merge"], "help", "merge")

    def test_flags_that_are_none(self):
        self.refuse(2, ["--learning-rat", "did you mean --learning-rate?"], "train", "--learning-rat", "1")
        self.refuse(2, ["--no-shufle", "did you mean --no-shuffle?"], "train", "--no-shufle")
        self.refuse(2, ["--frobnicate", "stable-lora train --help"], "train", "--frobnicate")
        self.refuse(2, ["--dry-run"], "eval", "--dry-run")
        self.refuse(2, ["--path"], "inspect", "--path", ".")
        self.refuse(2, ["-r", "two dashes"], "train", "-r", "8")
        self.refuse(2, ["no flag"], "train", "--" + "x" * 5000)
        self.refuse(2, ["--no-json"], "train", "--no-json")
        self.refuse(2, ["--no-model"], "train", "--no-model")

    def test_values_that_are_none(self):
        for flag, value, wanted in [
                ("--learning-rate", "1e-4x", "a number from 0 to 1e+06"), ("--learning-rate", "nan", "a number"),
                ("--learning-rate", "0x1", "a number"), ("--learning-rate", "", "a number"), ("--learning-rate", "-1", "a number"),
                ("--r", "8.5", "a whole number from 1 to 65536"), ("--r", "0", "a whole number"), ("--r", "8 ", "a whole number"),
                ("--r", "99999999999999999999", "a whole number"), ("--shrink-ratio", "1", "from 0 to below 1"),
                ("--lr-scheduler-type", "cosin", "linear, cosine or constant"), ("--seed", "1e3", "a whole number"),
                ("--precision", "fp16", "auto, fp32 or bf16")]:
            with self.subTest(flag=flag, value=value):
                self.refuse(2, [flag, wanted, f'found "{value}"'], "train", flag, value)
                self.refuse(2, [flag, wanted, f'found "{value}"'], "train", f"{flag}={value}")
        self.refuse(2, ["--model", "the flag --data", "--model=--data"], "train", "--model", "--data", "x")
        self.refuse(2, ["--model", "the end of the line"], "train", "--model")
        self.refuse(2, ["--no-shuffle", "takes no value"], "train", "--no-shuffle=yes")
        self.refuse(2, ["--json", "takes no value"], "train", "--json=yes")
        self.refuse(2, ["--shuffle", "true or false"], "train", "--shuffle=yes")
        self.refuse(2, ["UTF-8"], "train", b"--model=\xff".decode(errors="surrogateescape"))

    def test_what_is_missing_or_too_much(self):
        self.refuse(2, ["--model is missing"], "train")
        self.refuse(2, ["--data is missing"], "train", "--model", MODEL)
        self.refuse(2, ["--output-dir is missing"], "train", "--model", MODEL, "--data", ROWS)
        self.refuse(2, ["--data is missing"], "eval", "--model", MODEL)
        self.refuse(2, ["--data is missing"], "score", "--model", MODEL)
        self.refuse(2, ["--model is missing"], "tokenize")
        self.refuse(2, ["wanted PATH"], "inspect")
        self.refuse(2, ["two"], "inspect", "one", "two")
        self.refuse(2, ["unexpected", "extra"], "eval", "extra")
        self.refuse(2, ["unexpected", "--model"], "eval", "--", "--model")
        self.refuse(2, ["--prompt", "found none"], "generate", "--model", MODEL)
        self.refuse(2, ["--prompt", "--prompt-ids"], "generate", "--model", MODEL, "--prompt", "a", "--prompt-ids", "1")
        self.refuse(2, ["warmup"], "train", "--model", MODEL, "--data", ROWS, "--dry-run", "--warmup-steps", 1,
                    "--warmup-ratio", 0.5)


class Files(CommandTest):
    def train(self, code, words, *arguments):
        return self.refuse(code, words, "train", "--model", MODEL, "--data", ROWS, "--output-dir", self.folder / "run", *arguments)

    def test_config_files(self):
        self.train(1, ["no-such.json"], "--config", "no-such.json")
        for name, text, words in [("a.json", '{"lerning_rate": 1}', ['unknown key "lerning_rate"']),
                                  ("b.json", '{"r": "8"}', ["r: wanted a whole number", 'found "8"']),
                                  ("c.json", '{"r": 8', ["c.json"]), ("d.json", "[]", ["a JSON object", "array"]),
                                  ("e.json", '{"r": 8, "r": 9}', ["e.json"])]:
            with self.subTest(text):
                self.train(3, [name, *words], "--config", self.write(name, text))

    def test_missing_inputs(self):
        self.refuse(1, ["no-such"], "train", "--model", "no-such", "--data", ROWS, "--dry-run")
        self.refuse(1, ["no-such"], "train", "--model", MODEL, "--data", "no-such", "--dry-run")
        self.refuse(1, ["no-such"], "inspect", "no-such")
        self.refuse(1, ["no-such"], "tokenize", "--model", "no-such")
        self.refuse(1, ["no-such"], "generate", "--model", MODEL, "--adapter", "no-such", "--prompt", "a")

    def test_malformed_rows(self):
        for text, words in [('{"prompt": "a", "completion": "b"}\n{"text": "c"}\n', ["line 2"]), ('{"prompt": "a"', ["line 1"]),
                            ("", ["rows.jsonl"]), ('{"prompt": 1, "completion": "b"}\n', ["prompt"]), ("\x00\n", ["rows.jsonl"])]:
            with self.subTest(text):
                rows = self.write("rows.jsonl", text)
                self.refuse(3, ["rows.jsonl", *words], "train", "--model", MODEL, "--data", rows, "--dry-run")

    def test_malformed_model(self):
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            with self.subTest(name):
                folder = self.folder / f"model-{name}"
                folder.mkdir()
                for file in MODEL.iterdir():
                    if file.name != name:
                        (folder / file.name).symlink_to(file)
                (folder / name).write_bytes((MODEL / name).read_bytes()[:100])
                self.refuse(3, [name], "train", "--model", folder, "--data", ROWS, "--dry-run")

    def test_unsupported_model(self):
        self.write("model/config.json", '{"model_type": "mamba", "vocab_size": 8, "hidden_size": 8}')
        self.refuse(5, ["mamba"], "train", "--model", self.folder / "model", "--data", ROWS, "--dry-run")

    def test_output_dir_is_never_overwritten(self):
        used = self.write("run/notes.txt", "mine")
        self.train(2, ["run"])
        self.assertEqual([path.name for path in used.parent.iterdir()], ["notes.txt"])
        used.unlink()
        used.parent.rmdir()
        self.write("run", "a plain file")
        self.train(2, ["run"])
        self.assertEqual((self.folder / "run").read_text(), "a plain file")

    def test_resuming_what_is_not_there(self):
        self.train(2, ["no-such"], "--resume-from-checkpoint", "no-such")

    def test_ids(self):
        self.refuse(2, ["--prompt-ids", "x"], "generate", "--model", MODEL, "--prompt-ids", "1,x")
        self.refuse(2, ["999999999"], "generate", "--model", MODEL, "--prompt-ids", "999999999")
        for text in ("[1, 2", '"text"', "[1.5]", "[-1]", "[true]", "[99999999999]", ""):
            with self.subTest(text):
                self.refuse(3, ["standard input"], "tokenize", "--model", MODEL, "--decode", stdin=text)
                self.refuse(3, ["standard input line 1"], "tokenize", "--model", MODEL, "--decode", "--jsonl", stdin=text + "\n")
        done = self.run_command("tokenize", "--model", MODEL, "--jsonl", stdin='"a"\n[1]\n"b"\n', code=3)
        self.assertEqual(len(done.out.splitlines()), 1)  # what came before stands
        self.assertIn("standard input line 2: wanted a JSON string", done.err)


class Streams(CommandTest):
    VERBS = [["--help"], ["--version"], ["help", "--man"], ["train", "--help"], ["inspect", MODEL], ["inspect", MODEL, "--json"],
             ["tokenize", "--model", MODEL], ["generate", "--model", MODEL, "--prompt", "a", "--max-new-tokens", "2"],
             ["generate", "--model", MODEL, "--prompt", "a", "--max-new-tokens", "2", "--json"],
             ["train", "--model", MODEL, "--data", ROWS, "--dry-run"]]

    def test_full_disk(self):
        for arguments in self.VERBS:
            with self.subTest(arguments), open("/dev/full", "wb") as full:
                done = self.run_command(*arguments, stdout=full, code=1)
                self.assertIn("standard output: No space left on device", done.err)

    def test_closed_stdout(self):
        for arguments in self.VERBS:
            with self.subTest(arguments):
                done = self.run_command(*arguments, preexec_fn=lambda: os.close(1), stdout=None, code=1)
                self.assertIn("standard output: Bad file descriptor", done.err)

    def test_closed_pipe(self):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            done = self.run_command("inspect", MODEL, "--json", stdout=pipe, code=1)
        self.assertIn("standard output: Broken pipe", done.err)

    def test_closed_stdin(self):
        done = subprocess.run([COMMAND, "tokenize", "--model", MODEL], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=lambda: os.close(0), check=False)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"standard input", done.stderr)


if __name__ == "__main__":
    unittest.main()
