"""Pre-trains one base of a family of Llama-type models of different widths and equal depth on English novels.

    python3 studies/bases/pretrain.py --corpora ../shared/data/corpora --width 64 --output-dir bases/w64 [--steps 3000] [--threads 2]

Needs PyTorch, Transformers and tokenizers. All widths read the same tokens in the same order: the novels in the order of their names but for the
last two, which are held out; a byte-level BPE of 2048 pieces trained on the same text; 16 windows of 256 tokens a step, drawn from
seed 0. AdamW (0.9, 0.95, decay 0.1), clipped at 1, warm-up of 100 steps, cosine to a tenth of the peak 6e-3 sqrt(64/width). Weights, moments and the
held-out loss are fp32; the products of training are bfloat16 (torch.autocast) at every width, and its passes are compiled (torch.compile, which needs a C++
compiler): together two to four times as fast where the processor has AMX. --fp32: neither, as the base w64-fp32 of docs/EVIDENCE.md was made.

OUTPUT_DIR gets what Transformers reads (config.json, model.safetensors, tokenizer.json), curve.csv (step, tokens, training loss since the last line,
held-out loss) and base.json: settings, seed, versions, seconds, parameters. A killed run goes on from state.pt, which the end removes.
"""
import argparse
import csv
import json
import math
import time
from pathlib import Path

import tokenizers
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY, LAYERS, HEAD = 2048, 4, 32
BATCH, LENGTH, WARMUP, EVERY = 16, 256, 100, 100
HELD_OUT = 2  # novels
END = "<|endoftext|>"


def novels(corpora):
    files = sorted((corpora / "100_english_novels").rglob("*.txt"))
    if len(files) <= HELD_OUT:
        raise SystemExit(f"pretrain.py: {corpora}/100_english_novels holds {len(files)} novels; wanted more than {HELD_OUT}")
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    return texts[:-HELD_OUT], texts[-HELD_OUT:]


def train_tokenizer(texts, folder):
    path = folder / "tokenizer.json"
    if not path.exists():
        bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
        bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = tokenizers.decoders.ByteLevel()
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        bpe.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet))
        PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, clean_up_tokenization_spaces=False).save_pretrained(folder)
    return tokenizers.Tokenizer.from_file(str(path))


def encode(bpe, texts):
    end = bpe.token_to_id(END)
    return torch.tensor([i for encoding in bpe.encode_batch(texts) for i in encoding.ids + [end]], dtype=torch.int32)


def windows(ids, starts):
    return torch.stack([ids[s:s + LENGTH + 1] for s in starts]).long()


def loss_of(model, rows, bf16=False):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = model(rows[:, :-1]).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model, ids):
    """64 windows spread evenly over the held-out novels."""
    starts = torch.linspace(0, len(ids) - LENGTH - 1, 64).long().tolist()
    return sum(loss_of(model, windows(ids, starts[i:i + BATCH])).item() for i in range(0, 64, BATCH)) / (64 // BATCH)


def cooled(start):
    """The last step of a run that is cooled from `start` on."""
    return start + start // 10


def rate_at(step, steps, peak, start=None):
    if step < WARMUP:
        return peak * (step + 1) / WARMUP
    if start is not None and step > start:
        return rate_at(start, steps, peak) * (cooled(start) - step) / (cooled(start) - start)
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP))))


def build(width):
    heads = width // HEAD
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=LAYERS, num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2), head_dim=HEAD, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cool-from", type=int, help="leave the cosine after this step: straight down to 0 in a tenth as many steps again, and end there")
    parser.add_argument("--fp32", action="store_true")
    o = parser.parse_args()
    if o.width % HEAD:
        raise SystemExit(f"pretrain.py: --width is {o.width}; wanted a multiple of {HEAD}")
    last = o.steps if o.cool_from is None else cooled(o.cool_from)
    torch.set_num_threads(o.threads)
    o.output_dir.mkdir(parents=True, exist_ok=True)

    train_texts, held_texts = novels(o.corpora)
    bpe = train_tokenizer(train_texts, o.output_dir)
    train_ids, held_ids = encode(bpe, train_texts), encode(bpe, held_texts)
    model, peak = build(o.width), 6e-3 * math.sqrt(64 / o.width)
    parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.1)
    draw = torch.Generator().manual_seed(0)
    train_loss = loss_of if o.fp32 else torch.compile(loss_of)
    first, seconds, curve = 0, 0.0, []
    state = o.output_dir / "state.pt"
    if state.exists():
        saved = torch.load(state)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        draw.set_state(saved["draw"])
        first, seconds, curve = saved["step"], saved["seconds"], saved["curve"]
    print(f"width {o.width}: {parameters / 1e6:.2f} M parameters, {len(train_ids) / 1e6:.2f} M tokens, {len(held_ids)} held out, from step {first}", flush=True)

    losses, begin = [], time.monotonic()
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, o.steps, peak, o.cool_from)
        starts = torch.randint(len(train_ids) - LENGTH - 1, (BATCH,), generator=draw).tolist()
        loss = train_loss(model, windows(train_ids, starts), bf16=not o.fp32)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % EVERY == 0 or step + 1 == last:
            curve.append((step + 1, (step + 1) * BATCH * LENGTH, sum(losses) / len(losses), held_out_loss(model, held_ids)))
            losses = []
            print("step {} tokens {} loss {:.4f} held out {:.4f}".format(*curve[-1]), flush=True)
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "draw": draw.get_state(), "step": step + 1,
                     "seconds": seconds + time.monotonic() - begin, "curve": curve}
            torch.save(saved, o.output_dir / "state.part")
            (o.output_dir / "state.part").replace(state)

    seconds += time.monotonic() - begin
    model.save_pretrained(o.output_dir)
    with open(o.output_dir / "curve.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("step", "tokens", "train_loss", "held_out_loss"))
        table.writerows((s, t, f"{a:.5f}", f"{b:.5f}") for s, t, a, b in curve)
    facts = {"width": o.width, "layers": LAYERS, "parameters": parameters, "vocabulary": VOCABULARY, "steps": last, "cosine_to": o.steps, "batch": BATCH, "length": LENGTH,
             "peak_learning_rate": peak, "seed": 0, "tokens_of_corpus": len(train_ids), "held_out_loss": curve[-1][3], "seconds": round(seconds),
             "products": "float32" if o.fp32 else "bfloat16", "threads": o.threads, "torch": torch.__version__,
             "transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    (o.output_dir / "base.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
