"""The flags that make an adapter: which go together, which are refused and why, and what they leave in the run directory."""
import json
import os
import unittest

from command import MODEL, CommandTest, lines_of

# Another cut into micro-batches and another number of threads; what a sanitizer keeps does not fit into so little.
SANITIZED = os.environ.get("STLORA_SANITIZE") == "ON"
TIGHT = ["--threads", "1", *([] if SANITIZED else ["--max-memory", "16M"])]
# The exact singular values of every start take a sanitizer four seconds; where any PiSSA will do, it gets the quick one.
PISSA = "pissa_niter_4" if SANITIZED else "pissa"


class AdapterFlags(CommandTest):
    def train(self, name, *flags, **options):
        if not (self.folder / "rows.jsonl").exists():
            self.few_rows(8)
        return self.run_command("train", "--model", MODEL, "--data", "rows.jsonl", "--output-dir", name, "--max-steps", 2,
                                "--batch-size", 4, "--r", 4, "--learning-rate", "1e-3", *flags, **options)

    def refused(self, words, *flags):
        self.few_rows(8)
        self.refuse(2, words, "train", "--model", MODEL, "--data", "rows.jsonl", "--output-dir", "refused", *flags)

    def params(self, name):
        return json.loads((self.folder / name / "run.json").read_text())["params"]

    def weights(self, name):
        return (self.folder / name / "adapter_model.safetensors").read_bytes()

    def test_how_a_begins(self):
        self.train("plain")
        self.train("one", "--init-lora-weights", "true", "--init-a-scale", 1)
        self.assertEqual(self.weights("plain"), self.weights("one"))
        for name, *flags in [("half", "--init-a-scale", 0.5), ("gaussian", "--init-lora-weights", "gaussian"),
                             ("orthogonal", "--init-lora-weights", "orthogonal")]:
            with self.subTest(name=name):
                self.train(name, *flags)
                self.assertNotEqual(self.weights("plain"), self.weights(name))
                self.train(name + "-again", "--config", f"{name}/run.json")
                self.assertEqual(self.weights(name), self.weights(name + "-again"))
        norms = [json.loads((self.folder / name / "stability.json").read_text())[0]["norm_a"] for name in ("plain", "half")]
        self.assertLess(abs(norms[1] / norms[0] - 0.5), 0.01)
        self.refused(["--init-lora-weights", "gaussian", "kaiming"], "--init-lora-weights", "kaiming")
        self.refused(["--init-a-scale", "from 1e-06"], "--init-a-scale", 0)
        self.refused(["orthogonal", "even rank", "found 3"], "--init-lora-weights", "orthogonal", "--r", 3)

    def test_shrink_where_b_is_not_0(self):
        done = self.train("orthogonal", "--init-lora-weights", "orthogonal")
        self.assertIn("A is not shrunk", done.err)
        self.assertEqual(self.params("orthogonal")["shrink_ratio"], 0)
        self.train("zero", "--init-lora-weights", "orthogonal", "--shrink-ratio", 0)
        self.assertEqual(self.weights("orthogonal"), self.weights("zero"))
        self.train("forced", "--init-lora-weights", "orthogonal", "--force-shrink", "--shrink-ratio", 0.1)
        self.assertNotEqual(self.weights("orthogonal"), self.weights("forced"))
        self.refused(["--shrink-ratio", "orthogonal", "B is not 0", "--force-shrink"], "--init-lora-weights", "orthogonal",
                     "--shrink-ratio", 0.001)
        self.refused(["--force-shrink", "true", "shrunk anyway"], "--force-shrink")

    def test_shrink_of_an_adapter_that_has_learnt(self):
        self.few_rows(8)
        self.train("first")

        def go_on(name, *flags):
            return self.run_command("train", "--model", MODEL, "--data", "rows.jsonl", "--adapter", "first", "--output-dir", name, "--max-steps", 2, *flags)

        self.assertIn("A is not shrunk", go_on("second").err)
        go_on("zero", "--shrink-ratio", 0)
        self.assertEqual(self.weights("second"), self.weights("zero"))
        self.assertEqual(self.params("second")["shrink_ratio"], 0)
        go_on("asked", "--shrink-ratio", 0.1)
        self.assertNotEqual(self.weights("second"), self.weights("asked"))

    def test_going_on_from_an_adapter(self):
        self.train("first")
        self.train("second", "--adapter", "first")
        self.refused(["--adapter", "--init-lora-weights"], "--adapter", "first", "--init-lora-weights", "gaussian")
        self.refused(["--adapter", "--init-a-scale"], "--adapter", "first", "--init-a-scale", 2)

    def test_patterns(self):
        self.train("patterns", "--rank-pattern", '{"q_proj": 2, "1.mlp.up_proj": 6}', "--alpha-pattern", '{"q_proj": 3.5}')
        config = json.loads((self.folder / "patterns" / "adapter_config.json").read_text())
        self.assertEqual(config["rank_pattern"], {"q_proj": 2, "1.mlp.up_proj": 6})
        self.assertEqual(config["alpha_pattern"], {"q_proj": 3.5})
        ranks = {pair["name"]: pair["r"] for pair in json.loads((self.folder / "patterns" / "stability.json").read_text())}
        self.assertEqual({name: r for name, r in ranks.items() if r != 4},
                         {name: 6 if "up_proj" in name else 2 for name in ranks if "q_proj" in name or "1.mlp.up_proj" in name})
        self.train("again", "--config", "patterns/run.json")
        self.assertEqual(self.weights("patterns"), self.weights("again"))
        self.train("next", "--adapter", "patterns")
        self.assertEqual(json.loads(self.params("next")["rank_pattern"]), config["rank_pattern"])
        self.train("next-again", "--config", "next/run.json")
        self.assertEqual(self.weights("next"), self.weights("next-again"))
        self.refused(["--adapter", "--rank-pattern"], "--adapter", "patterns", "--rank-pattern", '{"q_proj": 3}')
        for words, flag, text in [(["--rank-pattern", "object"], "--rank-pattern", "[4]"), (["--rank-pattern", "q_proj", "positive integer"],
                                   "--rank-pattern", '{"q_proj": 0.5}'), (["rank_pattern", "q_prj", "matches no adapted map"],
                                   "--rank-pattern", '{"q_prj": 4}'), (["--alpha-pattern"], "--alpha-pattern", '{"q_proj": '),
                                  (["alpha_pattern", "head"], "--alpha-pattern", '{"head": 4}'),
                                  (["("], "--rank-pattern", '{"q_proj(": 4}')]:
            with self.subTest(text=text):
                self.refused(words, flag, text)

    def test_noise_on_the_embeddings(self):
        self.train("plain")
        self.train("noisy", "--neftune-noise-alpha", 5)
        self.train("tight", "--neftune-noise-alpha", 5, *TIGHT)
        self.assertNotEqual(self.weights("plain"), self.weights("noisy"))
        self.assertEqual(self.weights("noisy"), self.weights("tight"))  # neither threads nor micro-batches change it
        self.train("noisy", "--neftune-noise-alpha", 5, "--resume-from-checkpoint", "latest")
        self.train("saved", "--neftune-noise-alpha", 5, "--save-steps", 1)
        self.train("on", "--neftune-noise-alpha", 5, "--resume-from-checkpoint", "saved/checkpoint-1")
        self.assertEqual(self.weights("noisy"), self.weights("on"))

    def test_dora(self):
        self.train("plain")
        self.train("dora", "--use-dora", "--save-steps", 1)
        config = json.loads((self.folder / "dora" / "adapter_config.json").read_text())
        self.assertIs(config["use_dora"], True)
        self.assertIn(b"q_proj.lora_magnitude_vector", self.weights("dora"))
        adapter = json.loads(self.run_command("inspect", "dora", "--json").out)["adapter"]
        self.assertEqual((adapter["use_dora"], adapter["problems"]), (True, []))
        first = [lines_of(self.folder / name / "metrics.jsonl")[0]["loss"] for name in ("plain", "dora")]
        self.assertLess(abs(first[0] - first[1]), 1e-5 * first[0])  # mag/c is 1 at the start
        self.train("tight", "--use-dora", *TIGHT)
        self.assertEqual(self.weights("dora"), self.weights("tight"))
        self.train("again", "--config", "dora/run.json")
        self.assertEqual(self.weights("dora"), self.weights("again"))
        self.train("scaled", "--use-dora", "--use-rslora", "--rank-pattern", '{"q_proj": 2}')
        self.train("next", "--adapter", "dora")
        self.assertIs(self.params("next")["use_dora"], True)
        self.refused(["--adapter", "use_dora"], "--adapter", "plain", "--use-dora")
        self.refused(["--lora-dropout", "DoRA"], "--use-dora", "--lora-dropout", 0.1)
        for verb in (["eval", "--data", "rows.jsonl"], ["score", "--data", "rows.jsonl"], ["generate", "--prompt", "a", "--max-new-tokens", 4]):
            self.run_command(verb[0], "--model", MODEL, "--adapter", "dora", *verb[1:])

    def losses(self, name):
        return [line["loss"] for line in lines_of(self.folder / name / "metrics.jsonl")]

    def test_frozen_pairs(self):
        self.train("plain")
        for name in ("pissa", "olora", "pissa_niter_4"):
            with self.subTest(name=name):
                done = self.train(name, "--init-lora-weights", name)
                self.assertIn("A is not shrunk", done.err)
                config = json.loads((self.folder / name / "adapter_config.json").read_text())
                self.assertEqual((config["r"], config["lora_alpha"], config["init_lora_weights"]), (8, 32, True))
                # at the start the pair is nothing: fp32 sums that cancel
                self.assertLess(abs(self.losses(name)[0] - self.losses("plain")[0]), 1e-4)
                self.train(name + "-again", "--config", f"{name}/run.json", *TIGHT)
                self.assertEqual(self.weights(name), self.weights(name + "-again"))
                self.run_command("score", "--model", MODEL, "--adapter", name, "--data", "rows.jsonl")
        self.train("root", "--init-lora-weights", PISSA, "--use-rslora")
        self.assertAlmostEqual(json.loads((self.folder / "root" / "adapter_config.json").read_text())["lora_alpha"], 16 * 2 ** 0.5)
        self.train("patterns", "--init-lora-weights", PISSA, "--rank-pattern", '{"q_proj": 2}', "--alpha-pattern", '{"q_proj": 4}')
        config = json.loads((self.folder / "patterns" / "adapter_config.json").read_text())
        self.assertEqual((config["rank_pattern"], config["alpha_pattern"]), ({"q_proj": 4}, {"q_proj": 8}))

    def test_shrink_of_frozen_pairs(self):
        """Forced, A of a square map shrinks a few steps at most, of a map with more inputs than outputs none; of the other kind it goes on."""
        self.train("forced", "--init-lora-weights", PISSA, "--force-shrink", "--shrink-ratio", 0.01)
        for pair in json.loads((self.folder / "forced" / "stability.json").read_text()):
            with self.subTest(pair=pair["name"]):
                if pair["n"] > pair["m"]:
                    self.assertEqual((pair["stop_step"], pair["shrink_factor"]), (1, 1))
                elif pair["m"] > pair["n"]:
                    self.assertIsNone(pair["stop_step"])
                else:
                    self.assertIn(pair["stop_step"], (1, 2))

    def test_combinations(self):
        """The table of docs/CLI.md: every pair of ways works, or is refused with its reason."""
        ways = {"rsLoRA": ["--use-rslora"], "DoRA": ["--use-dora"], "patterns": ["--rank-pattern", '{"q_proj": 2}'],
                "dropout": ["--lora-dropout", 0.1], "NEFTune": ["--neftune-noise-alpha", 5], "gaussian": ["--init-lora-weights", "gaussian"],
                "orthogonal": ["--init-lora-weights", "orthogonal"], "pissa": ["--init-lora-weights", PISSA],
                "olora": ["--init-lora-weights", "olora"], "scaled": ["--init-a-scale", 0.5]}
        refused = {("DoRA", "dropout"): "--lora-dropout", ("dropout", "pissa"): "--lora-dropout", ("dropout", "olora"): "--lora-dropout",
                   ("pissa", "scaled"): "--init-a-scale", ("olora", "scaled"): "--init-a-scale"}
        inits = ("gaussian", "orthogonal", "pissa", "olora")
        names = list(ways)
        for i, one in enumerate(names):
            for other in names[i + 1:]:
                if one in inits and other in inits:
                    continue
                with self.subTest(one=one, other=other):
                    if (one, other) in refused:
                        self.refused([refused[one, other]], *ways[one], *ways[other])
                    else:
                        self.train(f"{one}-{other}", *ways[one], *ways[other])
        for init in ("pissa", "olora"):
            self.refused(["--use-rslora", "patterns"], "--use-rslora", "--init-lora-weights", init, "--alpha-pattern", '{"q_proj": 2}')
            self.refused(["--shrink-ratio", init], "--init-lora-weights", init, "--shrink-ratio", 0.001)
            self.refused(["--adapter", "--init-lora-weights"], "--adapter", "DoRA-patterns", "--init-lora-weights", init)

    def test_resume(self):
        for name, *flags in [("pissa", "--init-lora-weights", PISSA, "--use-dora"), ("olora", "--init-lora-weights", "olora"),
                             ("dora", "--use-dora"), ("orthogonal", "--init-lora-weights", "orthogonal"), ("gaussian", "--init-lora-weights", "gaussian")]:
            with self.subTest(name=name):
                self.train(name, *flags, "--save-steps", 1)
                self.train(name + "-on", *flags, "--resume-from-checkpoint", f"{name}/checkpoint-1")
                self.assertEqual(self.weights(name), self.weights(name + "-on"))
                self.assertEqual(lines_of(self.folder / name / "metrics.jsonl")[1]["loss"],
                                 lines_of(self.folder / f"{name}-on" / "metrics.jsonl")[0]["loss"])


if __name__ == "__main__":
    unittest.main()
