"""Does storing A and B in bfloat16 keep Stable-LoRA from shrinking? PyTorch and PEFT, since stable-lora itself always keeps them in fp32.

    python3 studies/bf16_storage.py --model demo/model --data demo/data/train.jsonl --held-out demo/data/test.jsonl --output studies/results/bf16_storage.csv

The same runs with adapters kept in fp32 and in bf16 (the base is fp32): A is multiplied by 1 - ratio before every step of AdamW while |A|/n >= |B|/m, as the
method's release does it. Columns: the norm of A over what it would be if only the shrinks had acted, after the first shrink and
after 100 of them without updates (geometric mean over pairs); held-out loss after the run.
"""
import argparse
import csv
import json
import math
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS, BATCH, RATE, LENGTH = 100, 4, 8e-4, 256


def encode(tokenizer, path, most):
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines()[:most]:
        row = json.loads(line)
        prompt = tokenizer(row.get("prompt", ""), add_special_tokens=True).input_ids
        whole = tokenizer(row.get("prompt", "") + row.get("completion", row.get("text", ""))).input_ids + [tokenizer.eos_token_id]
        rows.append((whole[:LENGTH], len(prompt)))
    return rows


def loss_of(model, rows):
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), -100)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, (row, start) in enumerate(rows):
        ids[i, :len(row)] = torch.tensor(row)
        labels[i, start:len(row)] = torch.tensor(row[start:])
        mask[i, :len(row)] = 1
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


def adapted(options, dtype, seed):
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"), autocast_adapter_dtype=False)
    a, b = ([p for name, p in model.named_parameters() if word in name] for word in ("lora_A", "lora_B"))
    for p in a + b:
        p.data = p.data.to(dtype)
    for module in model.modules():  # the products in fp32, whatever is stored
        if hasattr(module, "lora_A") and len(getattr(module, "lora_A")):
            for part in (module.lora_A["default"], module.lora_B["default"]):
                part.forward = lambda x, part=part: torch.nn.functional.linear(x.float(), part.weight.float())
    return model, a, b


def shrink(a, b, armed, ratio):
    for i, (one, other) in enumerate(zip(a, b)):
        if armed[i] and one.norm() < one.numel() / other.numel() * other.norm():
            armed[i] = False
        if armed[i]:
            one.data.mul_(1 - ratio)


def kept(a, starts, wanted):
    return math.exp(sum(math.log(p.float().norm().item() / start / wanted) for p, start in zip(a, starts)) / len(a))


def run(options, rows, held_out, dtype, ratio, seed):
    model, a, b = adapted(options, dtype, seed)
    starts, saved = [p.float().norm().item() for p in a], [p.data.clone() for p in a]
    found = []
    for count in (1, 100):
        for p, before in zip(a, saved):
            p.data.copy_(before)
            for _ in range(count):
                p.data.mul_(1 - ratio)
        found.append(kept(a, starts, (1 - ratio) ** count))
    for p, before in zip(a, saved):
        p.data.copy_(before)
    armed = [True] * len(a)
    optimizer = torch.optim.AdamW(a + b, lr=RATE, weight_decay=0)
    order = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        batch = [rows[i] for i in torch.randint(len(rows), (BATCH,), generator=order).tolist()]
        loss_of(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(a + b, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        shrink(a, b, armed, ratio)
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        losses = [loss_of(model, held_out[i:i + 16]).item() for i in range(0, len(held_out), 16)]
    return [*found, sum(losses) / len(losses)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rows, held_out = encode(tokenizer, options.data, 2000), encode(tokenizer, options.held_out, 64)
    with open(options.output, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["storage", "shrink_ratio", "seed", "norm_kept_of_1_shrink", "norm_kept_of_100_shrinks", "eval_loss"])
        for storage, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            for ratio in (0, 5e-4, 1e-3, 2e-3, 5e-3):
                for seed in range(1, options.seeds + 1):
                    writer.writerow([storage, ratio, seed, *(f"{v:.6f}" for v in run(options, rows, held_out, dtype, ratio, seed))])
                    file.flush()


if __name__ == "__main__":
    main()
