"""The command under valgrind: a few tokens through train, its checkpoint and resume, score and generate. Run by `make test-valgrind`."""
import shutil
import subprocess
import unittest

from command import MODEL, SOURCE, CommandTest

UNDER_VALGRIND = SOURCE / "tools" / "under_valgrind.sh"


class ValgrindTrain(CommandTest):
    runner = (UNDER_VALGRIND,)

    def setUp(self):
        super().setUp()
        self.rows = self.few_rows(2)

    def train(self, *flags):
        self.run_command("train", "--model", MODEL, "--data", self.rows, "--output-dir", self.folder / "run", "--batch-size", 1, "--r", 2,
                         "--max-length", 12, "--no-completion-only-loss", "--threads", 2, *flags)

    def test_train_and_resume(self):
        flags = ["--precision", "bf16", "--lora-dropout", 0.1, "--save-steps", 1, "--save-total-limit", 1]
        self.train("--max-steps", 2, "--eval-data", self.rows, *flags)
        shutil.rmtree(self.folder / "run")
        self.train("--max-steps", 1, "--precision", "fp32", "--save-steps", 1)
        self.train("--max-steps", 1, "--precision", "fp32", "--save-steps", 1, "--resume-from-checkpoint", "latest")

    def test_other_verbs(self):
        rows = self.write("ids.jsonl", '{"input_ids": [5, 6, 7, 8, 9]}\n')
        self.run_command("score", "--model", MODEL, "--data", rows)
        self.run_command("generate", "--model", MODEL, "--prompt-ids", "5,6,7", "--max-new-tokens", 3, "--ignore-eos")


if __name__ == "__main__":
    if subprocess.run([UNDER_VALGRIND, "true"], check=False).returncode == 77:
        raise SystemExit(77)
    unittest.main()
