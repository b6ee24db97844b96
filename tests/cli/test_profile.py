"""train --profile: what the numbers promise (they add up), and that a profiled run is the same run."""
import csv
import json
import unittest

from command import HELD_OUT, MODEL, CommandTest


class Profile(CommandTest):
    def setUp(self):
        super().setUp()
        self.rows = self.few_rows(16)
        self.held_out = self.few_rows(4, "held-out.jsonl", HELD_OUT)

    def train(self, run, *flags):
        return self.run_command("train", "--model", MODEL, "--data", self.rows, "--output-dir", run, "--batch-size", 4, "--r", 4,
                                "--max-steps", 3, *flags)

    def test_changes_no_bit(self):
        self.train("plain")
        self.train("profiled", "--profile")
        for name in ("adapter_model.safetensors", "stability.json"):
            self.assertEqual((self.folder / "plain" / name).read_bytes(), (self.folder / "profiled" / name).read_bytes())
        self.assertFalse((self.folder / "plain" / "profile.csv").exists())

    def test_lines_add_up_to_the_steps(self):
        steps = json.loads(self.train("run", "--profile", "--eval-data", self.held_out, "--eval-steps", 1, "--json").out)["profile"]
        lines = {line["op"]: line for line in steps["lines"]}
        metrics = [json.loads(line) for line in (self.folder / "run" / "metrics.jsonl").read_text().splitlines()]
        seconds = [line["seconds"] for line in metrics if "loss" in line]
        self.assertEqual(steps["steps"], 2)  # the first one warms up
        self.assertAlmostEqual(steps["seconds"], sum(seconds[1:]), places=4)
        self.assertAlmostEqual(sum(line["seconds"] for line in lines.values()), steps["seconds"], places=9)
        self.assertGreaterEqual(lines["other"]["seconds"], 0)
        self.assertGreater(steps["needed_flops"], 0)
        self.assertEqual(lines["optimizer"]["calls"], 2)
        # 4 layers, one head: evaluations are not among the calls.
        self.assertEqual((lines["attention 4/2x32"]["calls"], lines["attention_grad 4/2x32"]["calls"]), (8, 8))
        with open(self.folder / "run" / "profile.csv", encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        self.assertEqual([row["op"] for row in table], [line["op"] for line in steps["lines"]])
        for row in table:
            self.assertAlmostEqual(float(row["flops"]), lines[row["op"]]["flops"], delta=1e-8 * lines[row["op"]]["flops"])

    def test_table_and_the_only_step(self):
        done = self.train("run", "--profile", "--max-steps", 1)
        self.assertIn("1 step of ", done.out)
        self.assertIn("\nattention_grad 4/2x32 ", done.out)

    def test_may_be_asked_for_when_resuming(self):
        self.train("run", "--save-steps", 1)
        self.train("run", "--profile", "--resume-from-checkpoint", self.folder / "run" / "checkpoint-1")
        self.assertTrue((self.folder / "run" / "profile.csv").exists())


if __name__ == "__main__":
    unittest.main()
