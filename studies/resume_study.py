"""What happens to a run that is taken up again without its latches? stable-lora keeps them in its checkpoints; the method's release forgets them.

    python3 studies/resume_study.py --build build --model bases/w64 --data rows/shakespeare.train.jsonl --held-out rows/shakespeare.held-out.jsonl
                                    --output-dir resume --output studies/results/resume.csv

For each ratio, rate and seed at a constant rate: 200 steps at once; and 100 steps, then 100 more from that adapter with new moments, once shrinking again
(`armed`) and once not (`latched`). A line for each: the held-out loss at the end, |A| over its value at step 100, the pairs that still shrank at step 100 and at the end.
"""
import argparse
import csv
import json
import shutil
import statistics
import subprocess
from pathlib import Path

HALF = 100


def train(o, name, steps, seed, rate, *flags):
    folder = o.output_dir / name
    shutil.rmtree(folder, ignore_errors=True)
    words = [o.build / "stable-lora", "train", "--model", o.model, "--data", o.data, "--eval-data", o.held_out, "--output-dir", folder, "--max-steps", steps,
             "--batch-size", 4, "--max-length", 192, "--weight-decay", 0, "--lr-scheduler-type", "constant", "--learning-rate", rate,
             "--precision", "fp32", "--save-steps", 0, "--stability-every", 0, "--seed", seed, "--threads", o.threads, *flags]
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    loss = [line["eval_loss"] for line in lines if "eval_loss" in line][-1]
    pairs = json.loads((folder / "stability.json").read_text(encoding="utf-8"))
    return loss, [pair["norm_a"] for pair in pairs], sum(pair["stop_step"] is None for pair in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("build", "model", "data", "held-out", "output-dir", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--rates", default="8e-4,3.2e-3")
    parser.add_argument("--ratios", default="5e-3,2e-2")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    o = parser.parse_args()
    o.output_dir.mkdir(parents=True, exist_ok=True)
    with open(o.output, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["shrink_ratio", "learning_rate", "seed", "how", "eval_loss", "norm_a_over_half_way", "shrinking_half_way", "shrinking_at_the_end"])
        for ratio in o.ratios.split(","):
            for rate in o.rates.split(","):
                for seed in range(1, o.seeds + 1):
                    shrink = ["--shrink-ratio", ratio]
                    _, norms, open_pairs = train(o, "half", HALF, seed, rate, *shrink)
                    start = ["--adapter", o.output_dir / "half"]
                    for how, result in (("at once", train(o, "whole", 2 * HALF, seed, rate, *shrink)),
                                        ("armed", train(o, "armed", HALF, seed + 1000, rate, *start, *shrink)),
                                        ("latched", train(o, "latched", HALF, seed + 1000, rate, *start, "--shrink-ratio", 0))):
                        grown = statistics.fmean(after / before for after, before in zip(result[1], norms))
                        writer.writerow([ratio, rate, seed, how, f"{result[0]:.6f}", f"{grown:.4f}", open_pairs, result[2] if how != "latched" else ""])
                        file.flush()


if __name__ == "__main__":
    main()
