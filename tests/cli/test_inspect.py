"""The verb inspect: what a model holds and what training it would take, held against a run's own plan; and why a directory cannot be used."""
import json
import shutil
import unittest

from command import MODEL, SOURCE, CommandTest


class Inspect(CommandTest):
    def inspect(self, path):
        return json.loads(self.run_command("inspect", path, "--json").out)

    def test_model(self):
        told = self.inspect(MODEL)
        config = json.loads((MODEL / "config.json").read_text())
        for word, key in {"family": "model_type", "hidden_size": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
                          "kv_heads": "num_key_value_heads", "vocab_size": "vocab_size", "max_positions": "max_position_embeddings"}.items():
            self.assertEqual(told[word], config[key])
        maps = {line["name"].rsplit(".", 1)[-1]: (line["n"], line["m"]) for line in told["linear_maps"]}
        self.assertEqual(maps["gate_proj"], (config["hidden_size"], config["intermediate_size"]))
        adapter = told["all_linear"]
        self.assertEqual(adapter["parameters"], adapter["r"] * config["num_hidden_layers"] * sum(n + m for n, m in maps.values()))
        self.assertIn("all_linear", self.run_command("inspect", MODEL).out)
        self.assertEqual(told["rope"], [{"layers": "all", "type": "default", "theta": 10000.0, "rotated_per_head": config["head_dim"]}])
        self.assertIn("no chat template", told["chat_template"])

    def test_layers_that_differ(self):
        told = self.inspect(SOURCE / "tests" / "golden" / "models" / "gemma3_pattern" / "model")
        self.assertEqual([(line["layers"], line["type"], line["theta"], line.get("factor")) for line in told["rope"]],
                         [("full_attention", "linear", 1e6, 8.0), ("sliding_attention", "default", 1e4, None)])
        self.assertEqual(told["window"], {"tokens": 8, "layers": 1})
        told = self.inspect(SOURCE / "tests" / "golden" / "models" / "phi3_long" / "model")
        self.assertEqual((told["rope"][0]["type"], told["rope"][0]["original_positions"], told["rope"][0]["rotated_per_head"]), ("longrope", 16, 6))
        self.assertEqual(told["window"], {"tokens": 20, "layers": 2})

    def test_chat_template(self):
        shutil.copytree(MODEL, self.folder / "model")
        self.write("model/chat_template.jinja", "{{ messages[0].content }}")
        told = self.inspect("model")["chat_template"]
        self.assertEqual((told["name"], told["marks_generation"]), ("own", False))
        self.assertIn("chat_template.jinja", told["place"])
        self.write("model/chat_template.jinja", "{{ messages | nosuchfilter }}")
        self.assertIn("nosuchfilter", self.inspect("model")["chat_template"])

    def test_training_is_what_a_run_plans(self):
        line = self.inspect(MODEL)["all_linear"]["training"][0]
        ids = [{"input_ids": [3 + (7 * row + at) % 1000 for at in range(line["row_tokens"])]} for row in range(line["rows_per_step"])]
        self.write("ids.jsonl", "".join(json.dumps(row) + "\n" for row in ids))
        flags = ["train", "--model", MODEL, "--data", "ids.jsonl", "--output-dir", "run", "--dry-run", "--json", "--stability-every", 0]
        plan = json.loads(self.run_command(*flags).out)
        parts = sum(plan[f"bytes_{part}"] for part in ("adapter", "gradients", "optimizer", "activations", "workspace", "logits"))
        self.assertEqual(line["memory_mib"], parts >> 20)
        per_token = plan["flops_per_step"] / line["rows_per_step"] / line["row_tokens"]
        self.assertAlmostEqual(line["operations_per_token"] / per_token, 1, delta=0.01)
        # The least is what is beside it, too: rows and the program.
        beside = plan["bytes_data"] + plan["bytes_program"]
        self.run_command(*flags, "--max-memory", (line["least_memory_mib"] + 2 << 20) + beside)
        self.refuse(1, ["--max-memory", "at least"], *flags, "--max-memory", (line["least_memory_mib"] - 2 << 20) + beside)

    def test_a_tokenizer_that_is_not_ours(self):
        shutil.copytree(MODEL, self.folder / "model")
        self.write("model/tokenizer.json", json.dumps({"version": "1.0", "model": {"type": "Unknown", "vocab": {}}}))
        told = self.inspect("model")
        self.assertIsNone(told["tokenizer"])
        self.assertIn("Unknown", told["problems"][0])
        (self.folder / "model" / "tokenizer.json").unlink()
        self.assertIsNone(self.inspect("model")["tokenizer"])

    def test_what_cannot_be_used(self):
        (self.folder / "empty").mkdir()
        self.refuse(3, ["empty", "the directory is empty"], "inspect", "empty")
        self.write("gguf/model-q4.gguf", "GGUF")
        self.refuse(5, ["GGUF", "llama.cpp"], "inspect", "gguf")
        self.write("torch/pytorch_model.bin", "x")
        self.refuse(5, ["PyTorch", "config.json"], "inspect", "torch")
        self.write("other/notes.txt", "x")
        self.refuse(3, ["wanted config.json", "adapter_config.json"], "inspect", "other")
        for name, code, change, words in [("family", 5, {"model_type": "t5"}, ["model_type", "t5"]),
                                    ("quantized", 5, {"quantization_config": {"quant_method": "gptq"}}, ["quantization_config"]),
                                    ("sizes", 3, {"hidden_size": 96}, ["embed_tokens", "96"])]:
            with self.subTest(name=name):
                shutil.copytree(MODEL, self.folder / name)
                config = json.loads((MODEL / "config.json").read_text())
                self.write(f"{name}/config.json", json.dumps({**config, **change}))
                self.refuse(code, words, "inspect", name)
        shutil.copytree(MODEL, self.folder / "short")
        weights = self.folder / "short" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        self.refuse(3, ["model.safetensors"], "inspect", "short")
        weights.unlink()
        self.write("short/pytorch_model.bin", "x")
        self.refuse(5, ["PyTorch", "convert"], "inspect", "short")
        (self.folder / "short" / "pytorch_model.bin").unlink()
        self.write("short/model.safetensors.index.json", json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
        self.refuse(1, ["model-00001-of-00002.safetensors"], "inspect", "short")


if __name__ == "__main__":
    unittest.main()
