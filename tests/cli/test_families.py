"""Training with the command on every family's tiny checkpoint (tests/golden/models, and ../shared's where they are): stopped and gone on, whatever the
threads and the memory, as one run; DoRA too; held-out rows by score and eval."""
import json
import os
import random
import unittest
from pathlib import Path

from command import SOURCE, CommandTest, lines_of

OWN = SOURCE / "tests" / "golden" / "models"
GIVEN = Path(os.environ["STLORA_SHARED"]) / "golden" / "models"
MODELS = [folder / "model" for place in (OWN, GIVEN) if place.is_dir() for folder in sorted(place.iterdir())]


class Families(CommandTest):
    def setUp(self):
        super().setUp()
        draw = random.Random(5)
        rows = [[draw.randrange(3, 64) for _ in range(draw.randrange(5, 48))] for _ in range(10)]
        self.rows = self.write("rows.jsonl", "".join(json.dumps({"input_ids": row, "labels": [-100] * 2 + row[2:]}) + "\n" for row in rows))

    def train(self, model, run, *flags, steps=4, code=0):
        self.run_command("train", "--model", model, "--data", self.rows, "--output-dir", self.folder / run, "--batch-size", 3, "--r", 3,
                         "--max-steps", steps, "--save-steps", 2, "--learning-rate", 1e-2, "--target-modules", "all-linear", *flags, code=code)
        losses = [line["loss"] for line in lines_of(self.folder / run / "metrics.jsonl") if "loss" in line]
        self.assertTrue(all(0 < loss < 50 for loss in losses), losses)
        return (self.folder / run / "adapter_model.safetensors").read_bytes(), losses

    def test_stopped_and_gone_on(self):
        for number, model in enumerate(MODELS):
            with self.subTest(model=model.parent.name):
                for kind, flags in (("dropout", ("--lora-dropout", 0.1)), ("dora", ("--use-dora",))):
                    whole = self.train(model, f"whole-{kind}-{number}", *flags, "--threads", 1)
                    run = f"parts-{kind}-{number}"
                    self.train(model, run, *flags, "--threads", 2)
                    (self.folder / run / "adapter_model.safetensors").unlink()
                    again = self.train(model, run, *flags, "--threads", 2, "--resume-from-checkpoint", "latest")
                    self.assertEqual(again, whole)

    def test_held_out_rows(self):
        for number, model in enumerate(MODELS):
            with self.subTest(model=model.parent.name):
                self.train(model, f"run-{number}", "--precision", "fp32", steps=2)
                adapter = self.folder / f"run-{number}"
                scores = self.run_command("score", "--model", model, "--adapter", adapter, "--data", self.rows, "--precision", "fp32").out
                logprobs = [value for line in scores.splitlines() for value in json.loads(line)["logprob"][1:]]
                told = json.loads(self.run_command("eval", "--model", model, "--adapter", adapter, "--data", self.rows, "--precision", "fp32", "--json").out)
                self.assertAlmostEqual(told["loss"], -sum(logprobs) / len(logprobs), delta=1e-4 * told["loss"])


if __name__ == "__main__":
    unittest.main()
