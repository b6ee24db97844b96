"""Help, version and man page against the contract of docs/CLI.md: every flag with its default, and none besides."""
import re
import subprocess
import tempfile
import unittest

from command import CommandTest

# flag -> default as help shows it; None = no default, "required" = must be given. "on"/"off": also --no-<flag>.
CONTRACT = {
    "train": {
        "model": "required", "data": "required", "eval-data": None, "eval-steps": "0", "chat-template": None, "now": "2024-07-26", "adapter": None, "output-dir": "required",
        "save-steps": "500", "save-total-limit": "2", "logging": "none", "resume-from-checkpoint": None,
        "r": "8", "lora-alpha": "16", "lora-dropout": "0", "neftune-noise-alpha": "0", "use-rslora": "off",
        "use-dora": "off", "rank-pattern": None, "alpha-pattern": None, "init-lora-weights": "true", "init-a-scale": "1", "force-shrink": "off", "target-modules": "all-linear",
        "shrink-ratio": "0.0005", "shrink-rule": "balance", "shrink-gauge": "off", "optimizer": "adamw", "loraplus-lr-ratio": "4",
        "riemannian-reg": "1e-2", "lora-rite-clip": "1", "lora-rite-skip": "1",
        "learning-rate": "1e-4", "learning-rate-a": "same", "lr-scheduler-type": "linear",
        "warmup-steps": "0", "warmup-ratio": "0", "weight-decay": "0.01",
        "weight-decay-a": "same", "weight-decay-a-steps": "0", "adam-beta1": "0.9", "adam-beta2": "0.999",
        "adam-epsilon": "1e-8", "max-grad-norm": "1", "stability-every": "20", "stability-pairs": "spread",
        "batch-size": "8", "num-train-epochs": "1", "max-steps": "0", "max-length": "1024",
        "completion-only-loss": "on", "shuffle": "on", "seed": "42",
        "precision": "auto", "threads": "0", "max-memory": None, "profile": "off",
        "config": None, "dry-run": None, "json": None, "help": None,
    },
    "eval": {
        "model": "required", "adapter": None, "data": "required", "chat-template": None, "now": "2024-07-26", "task": "loss", "max-length": "1024",
        "completion-only-loss": "on", "max-new-tokens": "0", "extract": "none", "stop-strings": None, "per-row": None,
        "precision": "auto", "threads": "0", "json": None, "help": None,
    },
    "score": {
        "model": "required", "adapter": None, "data": "required", "chat-template": None, "now": "2024-07-26", "precision": "auto", "threads": "0", "json": None, "help": None,
    },
    "generate": {
        "model": "required", "adapter": None, "prompt": None, "prompt-ids": None, "messages": None, "chat-template": None, "now": None, "max-new-tokens": "128", "temperature": "0",
        "top-p": "1", "top-k": "0", "seed": "42", "ignore-eos": "off", "precision": "auto", "threads": "0",
        "json": None, "help": None,
    },
    "chat": {
        "model": "required", "adapter": None, "chat-template": None, "now": None, "system": None, "max-new-tokens": "1024", "temperature": "0",
        "top-p": "1", "top-k": "0", "seed": "42", "precision": "auto", "threads": "0", "json": None, "help": None,
    },
    "tokenize": {
        "model": "required", "special-tokens": "on", "decode": "off", "jsonl": "off", "json": None, "help": None,
    },
    "render": {
        "model": None, "chat-template": None, "template": None, "bos-token": None, "eos-token": None, "messages": "required",
        "add-generation-prompt": "off", "now": None, "show-mask": "off", "json": None, "help": None,
    },
    "inspect": {"json": None, "help": None},
    "report": {"output": None, "json": None, "help": None},
}
CONTRACT["compare"] = {
    "methods": "lora,stable-lora", "method": None, "learning-rates": None, "shrink-ratios": None, "seeds": None, "eval-choices": None,
    "jobs": "0", **CONTRACT["train"], "eval-data": "required",
}


def flags_of(text):
    """{flag: default} of a help text."""
    found = {}
    for entry in re.split(r"\n(?=  \S)", text.split("\n\n", 2)[2]):
        head = re.match(r"  --([a-z0-9-]+)", entry)
        if not head:
            continue
        body = " ".join(entry.split())
        default = re.search(r"\((?:default: ([^()]*)|(required))\)", body)
        found[head.group(1)] = (default.group(1) or default.group(2)) if default else None
        if found[head.group(1)] in ("on", "off"):
            assert f"--no-{head.group(1)}" in entry, entry
    return found


class Help(CommandTest):
    def test_every_flag_and_default_is_the_contract(self):
        for verb, flags in CONTRACT.items():
            with self.subTest(verb):
                text = self.run_command(verb, "--help").out
                self.assertEqual(flags_of(text), flags)
                self.assertTrue(text.startswith(f"usage: stable-lora {verb} "))
                self.assertLessEqual(max(map(len, text.splitlines())), 100)
                self.assertEqual(self.run_command("help", verb).out, text)
                self.assertEqual(self.run_command(verb, "--no-such-file", "--help", code=2).out, "")

    def test_overview_lists_the_verbs_and_exit_codes(self):
        text = self.run_command("--help").out
        self.assertEqual(self.run_command("help").out, text)
        self.assertEqual(re.findall(r"^  ([a-z]+)  +\S", text, re.M), list(CONTRACT))
        self.assertEqual(re.findall(r"^  (\d+) ", text, re.M), ["0", "1", "2", "3", "4", "5", "130"])

    def test_version(self):
        self.assertRegex(self.run_command("--version").out, r"^stable-lora \d+\.\d+\.\d+\n$")

    def test_man_page_names_every_flag_and_is_clean_roff(self):
        page = self.run_command("help", "--man").out
        for verb, flags in CONTRACT.items():
            section = page.split(f"\n.SH {verb}\n")[1].split("\n.SH ")[0].replace("\\-", "-")
            for flag in flags:
                self.assertIn(f"\n.B --{flag}", section)
        for line in page.splitlines():
            self.assertRegex(line, r"^(\.(TH|SH|B|I|TP|PP)\b|[^.'])")
        try:
            with tempfile.TemporaryFile() as sheet:
                done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-z"], input=page.encode(), stderr=sheet, check=True)
                sheet.seek(0)
                self.assertEqual((done.returncode, sheet.read()), (0, b""))
        except FileNotFoundError:
            pass  # groff is a luxury


if __name__ == "__main__":
    unittest.main()
