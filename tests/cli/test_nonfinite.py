"""A step whose gradient is not finite is skipped as if its rows had not been there; ten in a row end the run with exit 4.

The model is the embedded one with an output head of its own, so that one token's embedding can be NaN: a row with that token has a loss
and gradients that are NaN, every other row is untouched.
"""
import json
import shutil
import struct
import unittest

from command import MODEL, CommandTest, lines_of

POISON = 1000
GOOD = [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14], [15, 16, 17, 18, 19], [20, 21, 22, 23, 24]]
BAD = [5, 6, POISON, 8]


class NonFinite(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(MODEL, self.model)
        config = json.loads((self.model / "config.json").read_text())
        config["tie_word_embeddings"] = False
        (self.model / "config.json").write_text(json.dumps(config))
        path = self.model / "model.safetensors"
        data = path.read_bytes()
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        header, body = json.loads(data[8:begin]), bytearray(data[begin:])
        embed = header["model.embed_tokens.weight"]
        self.assertEqual(embed["dtype"], "F32")
        first, last = embed["data_offsets"]
        header["lm_head.weight"] = {**embed, "data_offsets": [len(body), len(body) + last - first]}
        body += body[first:last]
        width = embed["shape"][1]
        struct.pack_into(f"<{width}f", body, first + 4 * width * POISON, *[float("nan")] * width)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(struct.pack("<Q", len(text)) + text + body)

    def train(self, run, rows, *flags, **options):
        data = self.write(f"{run}.jsonl", "".join(json.dumps({"input_ids": ids}) + "\n" for ids in rows))
        return self.run_command("train", "--model", self.model, "--data", data, "--output-dir", self.folder / run, "--batch-size", 1,
                                "--r", 2, "--no-shuffle", "--lr-scheduler-type", "constant", "--learning-rate", 1e-2, *flags, **options)

    def adapter(self, run):
        return (self.folder / run / "adapter_model.safetensors").read_bytes()

    def steps(self, run):
        return lines_of(self.folder / run / "metrics.jsonl")

    def test_step_is_skipped(self):
        """Not A, B, the moments, Adam's count of steps nor the shrinking has seen the bad rows: the adapters have the same bytes."""
        done = self.train("with", [*GOOD[:2], BAD, BAD, *GOOD[2:]])
        self.train("without", GOOD)
        self.assertEqual(self.adapter("with"), self.adapter("without"))
        self.assertEqual((self.folder / "with" / "stability.json").read_bytes(), (self.folder / "without" / "stability.json").read_bytes())
        lines = self.steps("with")
        self.assertEqual([line.get("skipped", False) for line in lines], [False, False, True, True, False, False])
        self.assertEqual([(line["loss"], line["grad_norm"]) for line in lines[2:4]], [(None, None)] * 2)
        kept = [line for line in lines if "skipped" not in line]
        self.assertEqual([line["loss"] for line in kept], [line["loss"] for line in self.steps("without")])
        self.assertIn("step 3 skipped, nothing was changed", done.err)

    def test_bad_row_in_a_batch(self):
        self.train("run", [*GOOD[:2], BAD, GOOD[2]], "--batch-size", 2)
        self.assertEqual([line.get("skipped", False) for line in self.steps("run")], [False, True])

    def test_ten_in_a_row(self):
        """Nine go by; a tenth ends the run, also when a checkpoint lies between them."""
        flags = ["--save-steps", 5]
        self.train("nine", [GOOD[0], *[BAD] * 9, GOOD[1]], *flags)
        for resume in ([], ["--resume-from-checkpoint", "latest"]):  # the second time from step 10, nine skips in a row behind it
            done = self.train("ten", [GOOD[0], *[BAD] * 10], *flags, *resume, code=4)
            self.assertIn("stopped after step 11: 10 steps in a row", done.err)
        self.assertEqual([line["step"] for line in self.steps("ten")], [*range(1, 12)])


if __name__ == "__main__":
    unittest.main()
