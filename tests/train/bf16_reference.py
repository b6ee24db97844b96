#!/usr/bin/env python3
"""How far PyTorch's bf16 is from its fp32: losses and gradients of LoRA adapters as PEFT users run them. Makes bf16_reference.json.

usage: tests/train/bf16_reference.py [OUT.json]      with torch, transformers and peft of tools/peft_requirements.txt

Models: the tiny checkpoints of SHARED/golden/models and stories260K (SHARED: environment variable STLORA_SHARED, default ../shared). Their
weights are rounded to bf16 on both sides, so that the distance is that of the arithmetic alone:
  bf16   from_pretrained(dtype=bfloat16), PEFT's defaults: A and B in fp32; attention and products as PyTorch chooses
  fp32   the same weights widened, everything in fp32
Inputs, BATCHES of one row each per model, come from formulas that test_bf16_reference.c repeats:
  mix(x)          lowbias32, a hash of 32 bits
  text(s)         FNV-1a of the bytes of s, 32 bits
  ids             id[t] = mix(text("ids") + 1000003 b + t) mod V of the b-th batch, LENGTH of them; stories260K: the ids of row b mod 8 of
                  SHARED/golden/real/stories260K-grimm/score.json
  A, B            element k of <module>.lora_A: SPREAD_A (mix(text("<module>.lora_A") + 1000003 b + k) >> 8) 2^-23 - SPREAD_A, in row-major order
All 32-bit unsigned. The loss is the mean over all next tokens. For the batches, mean and largest of:
  loss        |loss_bf16 - loss_fp32|
  gradient_a  |g_bf16 - g_fp32| / |g_fp32| over the gradients of all A together, Frobenius; gradient_b: of all B
and, so that the test knows that it has the same inputs, of fp32 alone: the loss and the norm of all gradients, as loss_fp32 and norm_fp32
"""
import json
import os
import sys
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

BATCHES, LENGTH, RANK, ALPHA = 32, 97, 4, 8
SPREAD = {"A": 0.25, "B": 0.03125}
FAMILIES = ["llama", "llama3_rope", "mistral_window", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2", "gpt2"]

PROJECT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("STLORA_SHARED", PROJECT.parent / "shared"))


def mix(x):
    """Elementwise on an int64 tensor of 32-bit values. The product of two such values fits modulo 2^64, and the mask takes what counts."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & 0xFFFFFFFF
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & 0xFFFFFFFF
    return x ^ (x >> 16)


def drawn(name, batch, count):
    start = 0x811C9DC5
    for byte in name.encode():
        start = ((start ^ byte) * 0x01000193) & 0xFFFFFFFF
    return mix((torch.arange(count, dtype=torch.int64) + start + 1000003 * batch) & 0xFFFFFFFF)


def load(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    for parameter in model.parameters():  # buffers stay exact in fp32: Gemma's scale of the embedding
        parameter.data = parameter.data.bfloat16().to(dtype)
    conv1d = model.config.model_type == "gpt2"
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", fan_in_fan_out=conv1d, task_type="CAUSAL_LM")
    return get_peft_model(model, config).eval()  # no dropout anywhere


def factors(model):
    """(name without PEFT's prefix and suffix, 'A' or 'B', parameter)"""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32, name
            module, which = name.removeprefix("base_model.model.").removesuffix(".default.weight").rsplit(".lora_", 1)
            yield module, which, parameter


def run(model, ids, batch):
    for module, which, parameter in factors(model):
        spread = SPREAD[which]
        values = (drawn(f"{module}.lora_{which}", batch, parameter.numel()) >> 8).double() * 2.0**-23 * spread - spread
        parameter.data.copy_(values.reshape(parameter.shape))
        parameter.grad = None
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    gradients = {"A": [], "B": []}
    for _, which, parameter in factors(model):
        gradients[which].append(parameter.grad.flatten().double())
    return loss.double().item(), torch.cat(gradients["A"]), torch.cat(gradients["B"])


def distances(folder, rows):
    exact, rounded = load(folder, torch.float32), load(folder, torch.bfloat16)
    found = {"loss": [], "gradient_a": [], "gradient_b": [], "loss_fp32": [], "norm_fp32": []}
    for batch in range(BATCHES):
        ids = rows(batch, exact.config.vocab_size)
        loss, a, b = run(exact, ids, batch)
        loss16, a16, b16 = run(rounded, ids, batch)
        found["loss"].append(abs(loss16 - loss))
        found["gradient_a"].append(((a16 - a).norm() / a.norm()).item())
        found["gradient_b"].append(((b16 - b).norm() / b.norm()).item())
        found["loss_fp32"].append(loss)
        found["norm_fp32"].append(torch.cat([a, b]).norm().item())
    return {what: {"mean": float(f"{sum(all) / BATCHES:.6g}"), "max": float(f"{max(all):.6g}")} for what, all in found.items()}


def main():
    torch.set_num_threads(1)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".json")
    texts = [row["ids"] for row in json.loads((SHARED / "golden/real/stories260K-grimm/score.json").read_text())]
    models = {}
    for family in FAMILIES:
        models[family] = distances(SHARED / "golden/models" / family / "model", lambda b, v: (drawn("ids", b, LENGTH) % v).unsqueeze(0))
    models["stories260K"] = distances(SHARED / "data/models/stories260K", lambda b, _: torch.tensor([texts[b % len(texts)]]))
    document = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__,
                      "cpu": torch.backends.cpu.get_cpu_capability(), "avx512_bf16": torch.cpu._is_avx512_bf16_supported()},
        "batches": BATCHES, "length": LENGTH, "r": RANK, "lora_alpha": ALPHA, "spread_a": SPREAD["A"], "spread_b": SPREAD["B"],
        "models": models,
    }
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(models, indent=2))


if __name__ == "__main__":
    main()
