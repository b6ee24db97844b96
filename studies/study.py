"""Runs the study of docs/EVIDENCE.md: one comparison per part; a line per run in studies/results/PART.csv, and what the pairs of each kind of map
did, over layers and seeds, in studies/results/PART.pairs.csv. evidence.py makes the page's tables and plots of them.

    python3 studies/study.py --build build --bases bases --rows rows --output-dir study [--part stop-rule-0.0008,...] [--list]
    python3 studies/study.py --build build --reduced --output-dir study          the embedded model's part alone, minutes

A part is a base, a task, the adapted maps and a grid. Every arm of a part gets the same learning rates, seeds, rows and steps. A part that was cut off
goes on where it stopped. --list prints the parts with their runs.
"""
import argparse
import csv
import json
import statistics
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEEDS, FRESH_SEEDS = "1:5:+1", "6:15:+1"
FOUR_RATIOS = "5e-4,2e-3,5e-3,2e-2"  # the paper's are 5e-4 to 5e-3; the last one is for runs as short as these
TWO_RATIOS = "5e-4,5e-3"
REDUCED = "demo-extraction-all"
# Arms beside compare's own methods: name -> flags.
ARMS = {
    "auto-horizon": "--shrink-ratio auto --shrink-rule horizon",
    "auto-displacement": "--shrink-ratio auto --shrink-rule displacement",
    "auto-balance": "--shrink-ratio auto --shrink-rule balance",
    "gauge": "--shrink-ratio 5e-3 --shrink-gauge",
}
FULL = ["lora", "stable-lora", *ARMS, "init-a-0.1", "lr-a-4", "wd-a", "small-alpha", "lora+", "riemannian", "lora-rite"]
FIRST = ["lora", "stable-lora", "auto-horizon", "auto-balance", "init-a-0.1", "lr-a-4", "lora+"]
DECISIVE = ["lora", "stable-lora", "auto-balance", "init-a-0.1", "lr-a-4", "lora+"]
PLAIN_AND_SHRUNK = ["lora", "stable-lora"]  # on the wide bases

Part = namedtuple("Part", "base task targets methods rates ratios seeds steps flags")
TARGETS = {"qv": "q_proj,v_proj", "all": "all-linear"}
AROUND_THE_BEST = "4e-4,1.6e-3,3.2e-3,6.4e-3,1.28e-2"
LINEAR = ("--lr-scheduler-type", "linear", "--warmup-ratio", 0.03)


def grid(base, task, targets, methods, rates, ratios=TWO_RATIOS, steps=200, flags=LINEAR, name=""):
    return f"{base}-{task}-{targets}{name}", Part(base, task, targets, methods, rates, ratios, SEEDS, steps, flags)


# The arms once more with seeds that chose nothing, each at its best rate of seeds 1 to 5: {base and task: {rate: (methods, ratios)}}.
CHOSEN = {
    ("w64", "shakespeare"): {6.4e-3: (["lora", "stable-lora", "auto-balance", "init-a-0.1"], TWO_RATIOS), 3.2e-3: (["lr-a-4"], ""), 1.6e-3: (["lora+"], "")},
    ("w128", "shakespeare"): {3.2e-3: (["lora", "stable-lora", "auto-balance", "init-a-0.1"], "5e-4"), 6.4e-3: (["stable-lora"], "5e-3"),
                              1.6e-3: (["lr-a-4", "lora+"], "")},
    ("w256", "shakespeare"): {3.2e-3: (PLAIN_AND_SHRUNK, TWO_RATIOS)},
}


def fresh():
    for (base, task), rates in CHOSEN.items():
        for rate, (methods, ratios) in rates.items():
            name, part = grid(base, task, "all", methods, f"{rate:g}", ratios, name=f"-fresh-{rate:g}")
            yield name, part._replace(seeds=FRESH_SEEDS)


def parts():
    """In the order of what they decide; a part whose base is not there is left out, and said."""
    yield grid("w64-fp32", "shakespeare", "all", FULL, "5e-5:6.4e-3:x2", FOUR_RATIOS)
    yield grid("w64-fp32", "shakespeare", "qv", FIRST, "5e-5:6.4e-3:x2", FOUR_RATIOS)
    # The stop rule: a constant rate, and the very same shrinking for ever as a decay of A: shrink ratio = rate x decay.
    for rate in (2e-4, 8e-4, 3.2e-3):
        never = f"--shrink-ratio 0 --weight-decay-a {5e-3 / rate:g}"
        name, part = grid("w64", "shakespeare", "all", {"lora": None, "stable-lora": None, "never-stops": never}, f"{rate:g}", "5e-3",
                          flags=("--lr-scheduler-type", "constant"))
        yield f"stop-rule-{rate:g}", part
    yield grid("w64", "shakespeare", "all", DECISIVE, "2e-4:3.2e-3:x2", steps=1000, name="-long")
    yield grid("demo", "extraction", "all", DECISIVE, "8e-4:1.28e-2:x4", steps=80)
    yield grid("w64", "shakespeare", "all", DECISIVE, "5e-5:1.28e-2:x2")
    yield grid("w64", "shakespeare", "qv", DECISIVE, "5e-5:1.024e-1:x2")  # to rates at which q and v alone have turned for the worse
    yield grid("w128", "shakespeare", "all", DECISIVE, "5e-5:1.28e-2:x2")
    yield grid("w256", "shakespeare", "all", DECISIVE, "8e-4:6.4e-3:x2")
    yield grid("w512", "shakespeare", "all", PLAIN_AND_SHRUNK, "1.6e-3:1.28e-2:x2", steps=100)
    yield grid("stories260K", "grimm", "all", DECISIVE, AROUND_THE_BEST + ",2.56e-2")
    yield grid("w64", "wikitext", "all", DECISIVE, AROUND_THE_BEST + ",2.56e-2")
    yield grid("w128", "shakespeare", "qv", DECISIVE, "3.2e-3:1.024e-1:x2")
    yield grid("w256", "shakespeare", "qv", PLAIN_AND_SHRUNK, "6.4e-3:5.12e-2:x2")
    yield from fresh()


def files_of(o, part):
    """Model, training rows, held-out rows."""
    model = {"demo": HERE.parent / "demo" / "model", "stories260K": o.shared / "data" / "models" / "stories260K"}.get(part.base) or o.bases / part.base
    if part.task == "extraction":
        return model, HERE.parent / "demo" / "data" / "train.jsonl", HERE.parent / "demo" / "data" / "test.jsonl"
    return model, o.rows / f"{part.task}.train.jsonl", o.rows / f"{part.task}.held-out.jsonl"


def command(o, name, part):
    model, train, held_out = files_of(o, part)
    words = [o.build / "stable-lora", "compare", "--model", model, "--data", train, "--eval-data", held_out, "--output-dir", o.output_dir / name,
             "--methods", ",".join(part.methods), "--learning-rates", part.rates, "--seeds", part.seeds, *(("--shrink-ratios", part.ratios) if part.ratios else ()),
             "--max-steps", part.steps, "--batch-size", 4, "--max-length", 192, "--r", 8, "--lora-alpha", 16, "--target-modules", TARGETS[part.targets],
             "--weight-decay", 0, *part.flags, "--precision", "fp32", "--save-steps", 0, "--stability-every", 0, "--threads", o.threads]
    own = part.methods if isinstance(part.methods, dict) else ARMS
    for method in part.methods:
        if own.get(method):
            words += ["--method", f"{method}={own[method]}"]
    return [str(word) for word in words]


RUN = ("method", "shrink_ratio", "learning_rate", "seed", "status", "steps", "train_loss", "eval_loss_before", "eval_loss", "stop_step_median", "pairs_latched")


def loss_before(folder):
    """The held-out loss of step 0."""
    if not (folder / "metrics.jsonl").exists():
        return ""
    with open(folder / "metrics.jsonl", encoding="utf-8") as file:
        return json.loads(file.readline()).get("eval_loss", "")


def write_results(folder, results, name):
    """The comparison's runs without what is the machine's own (no times: the runs shared it), and its pairs by kind of map."""
    with open(folder / "comparison.csv", newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    results.mkdir(parents=True, exist_ok=True)
    with open(results / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, RUN, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for run in runs:
            run["eval_loss_before"] = loss_before(folder / run["directory"])
            writer.writerow({key: f"{float(value):.7g}" if value and "loss" in key else value for key, value in run.items()})
    kinds = {}
    for run in runs:
        told = folder / run["directory"] / "stability.json"
        if run["status"] == "done" and told.exists():
            for pair in json.loads(told.read_text(encoding="utf-8")):
                arm = run["method"], run["shrink_ratio"], run["learning_rate"], pair["name"].rsplit(".", 1)[-1]
                kinds.setdefault(arm, []).append(pair)
    with open(results / f"{name}.pairs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "shrink_ratio", "learning_rate", "map", "n", "m", "pairs", "stopped", "stop_step_median", "shrink_factor_mean",
                         "norm_a_mean", "norm_b_mean"])
        for arm, pairs in kinds.items():
            stops = [pair["stop_step"] for pair in pairs if pair["stop_step"] is not None]
            means = [f"{statistics.fmean(pair[key] for pair in pairs):.4g}" for key in ("shrink_factor", "norm_a", "norm_b")]
            writer.writerow([*arm, pairs[0]["n"], pairs[0]["m"], len(pairs), len(stops), statistics.median(stops) if stops else "", *means])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--bases", type=Path, default=Path("bases"))
    parser.add_argument("--rows", type=Path, default=Path("rows"))
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--part", default="")
    parser.add_argument("--threads", type=int, default=0, help="of compare; 0 = one for each core")
    parser.add_argument("--reduced", action="store_true")
    parser.add_argument("--list", action="store_true")
    o = parser.parse_args()
    all_parts = dict(parts())
    chosen = [name for name in o.part.split(",") if name] or ([REDUCED] if o.reduced else list(all_parts))
    unknown = [name for name in chosen if name not in all_parts]
    if unknown:
        sys.exit(f"study.py: no part {unknown[0]}; there are {', '.join(all_parts)}")
    for name in chosen:
        part = all_parts[name]
        words = command(o, name, part)
        if o.list:
            print(" ".join(words))
            continue
        if not all(path.exists() for path in files_of(o, part)):
            print(f"{name}: left out: {next(path for path in files_of(o, part) if not path.exists())} is not there", flush=True)
            continue
        print(f"{name}", flush=True)
        subprocess.run(words, check=True)
        write_results(o.output_dir / name, o.results, name)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"study.py: compare ends with {error.returncode}")
