"""The update rules and their settings, from the command: what is refused and why, that a run can be stopped, repeated from its run.json and
made on any number of threads without changing a bit, and that what a rule needs in memory is in the plan."""
import json
import os
import unittest

from command import MODEL, CommandTest, lines_of

# Steps of a run, where it is stopped, rows of a step; under a sanitizer fewer.
STEPS, STOP, ROWS = (6, 4, 2) if os.environ.get("STLORA_SANITIZE") == "ON" else (12, 8, 4)
RULES = {
    "adamw": ["--learning-rate-a", 4e-3, "--weight-decay-a", 10, "--weight-decay-a-steps", 3],
    "horizon": ["--shrink-ratio", "auto", "--shrink-rule", "horizon"],
    "displacement": ["--shrink-ratio", "auto", "--shrink-rule", "displacement"],
    "balance": ["--shrink-ratio", "auto"],
    "gauge": ["--shrink-ratio", 0.01, "--shrink-gauge"],
    "loraplus": ["--optimizer", "loraplus", "--loraplus-lr-ratio", 8],
    "riemannian": ["--optimizer", "riemannian", "--riemannian-reg", 1e-4],
    "lora-rite": ["--optimizer", "lora-rite", "--lora-rite-skip", 0.5, "--lora-rite-clip", 0.1],
    "lora-fa": ["--optimizer", "lora-fa"],
}


class Method(CommandTest):
    def setUp(self):
        super().setUp()
        self.rows = self.few_rows(20)

    def flags(self, run, *more):
        return ["train", "--model", MODEL, "--data", self.rows, "--output-dir", self.folder / run, "--batch-size", ROWS, "--r", 4,
                "--max-steps", STEPS, "--learning-rate", 1e-3, *more]

    def outcome(self, run):
        folder = self.folder / run
        lines = [(line["step"], line["loss"], line["grad_norm"]) for line in lines_of(folder / "metrics.jsonl")]
        return (folder / "adapter_model.safetensors").read_bytes(), (folder / "stability.json").read_bytes(), lines

    def test_stopped_repeated_and_threaded(self):
        seen = set()
        for name, rule in RULES.items():
            with self.subTest(rule=name):
                self.run_command(*self.flags(name, "--threads", 1, *rule))
                whole = self.outcome(name)
                seen.add(whole[0])
                self.run_command(*self.flags(f"{name}-threads", "--threads", 2, *rule))
                self.assertEqual(self.outcome(f"{name}-threads"), whole)
                self.run_command("train", "--config", self.folder / name / "run.json", "--output-dir", self.folder / f"{name}-again")
                self.assertEqual(self.outcome(f"{name}-again"), whole)
                self.run_command(*self.flags(f"{name}-stopped", "--save-steps", STOP // 2, *rule))
                stopped = self.folder / f"{name}-stopped"
                self.run_command("train", "--config", self.folder / name / "run.json", "--output-dir", self.folder / f"{name}-resumed",
                                 "--resume-from-checkpoint", stopped / f"checkpoint-{STOP}")
                self.assertEqual(self.outcome(f"{name}-resumed")[:2], whole[:2])
        self.assertEqual(len(seen), len(RULES))  # each rule does something else

    def test_the_state_belongs_to_its_rule(self):
        self.run_command(*self.flags("run", "--save-steps", STOP // 2, *RULES["loraplus"]))
        self.refuse(2, ["optimizer", "loraplus", "adamw"], *self.flags("other"), "--resume-from-checkpoint",
                    self.folder / "run" / f"checkpoint-{STOP}")

    def test_the_plan_has_the_memory_of_every_rule(self):
        bytes_of = {}
        for rule in ("adamw", "loraplus", "riemannian", "lora-rite", "lora-fa"):
            plan = json.loads(self.run_command(*self.flags("none", "--optimizer", rule, "--dry-run", "--json", "--threads", 1)).out)
            bytes_of[rule] = plan["bytes_optimizer"] / (4 * plan["trainable_parameters"])  # numbers per element
        self.assertEqual(bytes_of["adamw"], bytes_of["loraplus"])
        for rule, low, high in [("adamw", 2, 2.01), ("riemannian", 3, 3.1), ("lora-rite", 3, 3.5), ("lora-fa", 1.4, 2)]:
            self.assertTrue(low <= bytes_of[rule] <= high, (rule, bytes_of))

    def test_refusals(self):
        for words, flags in [
                (["--loraplus-lr-ratio", "loraplus", "adamw"], ["--loraplus-lr-ratio", 4]),
                (["--learning-rate-a", "loraplus"], ["--optimizer", "loraplus", "--learning-rate-a", 1e-3]),
                (["--learning-rate-a", "--learning-rate"], ["--learning-rate", 0, "--learning-rate-a", 1e-3]),
                (["--weight-decay-a-steps", "--weight-decay-a"], ["--weight-decay-a-steps", 10]),
                (["--shrink-rule", "auto", "0.0005"], ["--shrink-rule", "balance"]),
                (["--shrink-rule", "auto"], ["--shrink-rule", "horizon", "--shrink-ratio", 0.01]),
                (["--shrink-ratio auto", "--learning-rate"], ["--shrink-ratio", "auto", "--learning-rate", 0]),
                (["--shrink-gauge", "--shrink-ratio 0"], ["--shrink-ratio", 0, "--shrink-gauge"]),
                (["--shrink-ratio", "auto"], ["--shrink-ratio", "automatic"]),
                (["--shrink-ratio", "lora-rite", "size of A"], ["--optimizer", "lora-rite", "--shrink-ratio", 0.001]),
                (["--shrink-ratio", "lora-rite"], ["--optimizer", "lora-rite", "--shrink-ratio", "auto"]),
                (["--shrink-ratio", "lora-fa", "leaves A"], ["--optimizer", "lora-fa", "--shrink-ratio", 0.0005]),
                (["--shrink-gauge", "lora-fa"], ["--optimizer", "lora-fa", "--shrink-gauge"]),
                (["--shrink-gauge", "riemannian"], ["--optimizer", "riemannian", "--shrink-gauge"]),
                (["--shrink-rule", "lora-rite"], ["--optimizer", "lora-rite", "--shrink-rule", "balance"]),
                (["--learning-rate-a", "lora-fa"], ["--optimizer", "lora-fa", "--learning-rate-a", 1e-3]),
                (["--weight-decay-a", "lora-fa"], ["--optimizer", "lora-fa", "--weight-decay-a", 1]),
                (["--riemannian-reg", "riemannian", "lora-rite"], ["--optimizer", "lora-rite", "--riemannian-reg", 1]),
                (["--lora-rite-clip", "lora-rite"], ["--lora-rite-clip", 1]),
                (["--lora-rite-skip", "lora-rite"], ["--lora-rite-skip", 1]),
                (["rank 1025", "riemannian", "1024"], ["--optimizer", "riemannian", "--r", 1025]),
                (["rank 1025", "lora-fa", "1024"], ["--optimizer", "lora-fa", "--r", 1025]),
                (["rank 129", "widths 128", "lora-rite"], ["--optimizer", "lora-rite", "--r", 129]),
                (["--optimizer", "adamw", "loraplus"], ["--optimizer", "adam"]),
                (["--loraplus-lr-ratio", "from 1"], ["--optimizer", "loraplus", "--loraplus-lr-ratio", 0.5]),
        ]:
            with self.subTest(flags=flags):
                self.refuse(2, words, *self.flags("none", *flags))
                self.assertFalse((self.folder / "none").exists())

    def test_run_json_names_what_there_is(self):
        self.run_command(*self.flags("plain"))
        params = json.loads((self.folder / "plain" / "run.json").read_text(encoding="utf-8"))["params"]
        self.assertEqual([params[key] for key in ("optimizer", "learning_rate_a", "weight_decay_a", "loraplus_lr_ratio",
                                                     "shrink_rule")], ["adamw", "same", "same", None, None])
        for rule, wanted in [("adamw", (0.0005, 1e-8, 1)), ("riemannian", (0.0005, 1e-8, 1)), ("lora-rite", (0, 1e-6, 0)),
                             ("lora-fa", (0, 1e-6, 1))]:  # defaults that hang on the rule
            self.run_command(*self.flags(f"default-{rule}", "--optimizer", rule))
            params = json.loads((self.folder / f"default-{rule}" / "run.json").read_text(encoding="utf-8"))["params"]
            self.assertEqual((params["shrink_ratio"], params["adam_epsilon"], params["max_grad_norm"]), wanted)
        self.run_command(*self.flags("given", "--optimizer", "lora-rite", "--adam-epsilon", 1e-8, "--max-grad-norm", 1, "--shrink-ratio", 0))
        params = json.loads((self.folder / "given" / "run.json").read_text(encoding="utf-8"))["params"]
        self.assertEqual((params["shrink_ratio"], params["adam_epsilon"], params["max_grad_norm"]), (0, 1e-8, 1))

        self.run_command(*self.flags("plus", "--optimizer", "loraplus"))
        params = json.loads((self.folder / "plus" / "run.json").read_text(encoding="utf-8"))["params"]
        self.assertEqual((params["optimizer"], params["loraplus_lr_ratio"]), ("loraplus", 4))


if __name__ == "__main__":
    unittest.main()
