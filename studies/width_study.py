#!/usr/bin/env python3
"""How the parts of a step's change grow with a model's width, under AdamW and under Stable-LoRA.

usage: studies/width_study.py --bases DIR DIR ... --data FILE --output-dir OUT [--seeds 3] [--steps 400] [--shrink-ratio 0.005] [--quick]
                              [-- further flags of stable-lora train]

Trains every base with both methods and every seed, all settings equal but the shrink ratio (0 is AdamW), measures every pair
(stability.jsonl, docs/CLI.md), and leaves in OUT: runs/, steps.csv (a line per run and measured step), exponents.csv, study.svg. A run that is there is
not done again, so an interrupted study goes on, and a further seed costs only its own runs.

The exponent of a quantity is the slope of log(quantity) against log(width), by least squares over the bases, of one seed; the quantity is its geometric
mean over pairs and over the measured steps of a phase (early: the first quarter, less the first step, in which d2 is 0; late: the last quarter). Width is the
hidden size. The interval is Student's, 95 %, over the seeds' slopes: it knows of seeds, and not of bases that are no pure function of their width.
Learning rate and all else are the same at every width, so the theory asks for equal exponents of d1 and d2, an exponent 0 of q = d1/d2, and not for
exponents that are 0. While a pair shrinks, d2 also holds what the shrink does, which grows with width as d1 does; d2_update is the update's part
alone, which is the paper's δ2, and q_update = d1/d2_update.

--quick: 60 steps and two seeds, with a shrink ratio that shrinks as much in them: for trying, in a few minutes on small bases.
"""
import argparse
import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import svg_chart
from intervals import interval, mean

PROJECT = Path(__file__).resolve().parent.parent
QUANTITIES = ("d1", "d2", "d2_update", "d3", "dy", "q", "q_update")
METHODS = {"adamw": ("AdamW", "#e2762b"), "stable": ("Stable-LoRA", "#3b82f6")}
NAMES = {"d1": "δ1", "d2": "δ2", "d2_update": "δ2, update", "d3": "δ3", "q": "q", "q_update": "q, update"}
PHASES = ("early", "late")
DASHES = {"d1": "", "d2": "6 3", "d3": "2 3", "d2_update": "1 3"}


def mean_log(values):
    """Mean of the logarithms of what is there and not 0; None where nothing is."""
    logs = [math.log(v) for v in values if v]
    return mean(logs) if logs else None


def slope(xs, ys):
    """Least squares of y = a + slope x: (slope, a); None where x does not vary."""
    x0, y0 = mean(xs), mean(ys)
    spread = sum((x - x0) ** 2 for x in xs)
    if not spread:
        return None
    found = sum((x - x0) * (y - y0) for x, y in zip(xs, ys)) / spread
    return found, y0 - found * x0


# ---- the runs ----

def arguments():
    own, further = sys.argv[1:], []
    if "--" in own:
        own, further = own[: own.index("--")], own[own.index("--") + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", nargs="+", type=Path, required=True, metavar="DIR", help="model directories of different widths")
    parser.add_argument("--data", action="append", required=True, metavar="FILE", help="training rows; may be given again")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="OUT")
    parser.add_argument("--command", default=None, help="stable-lora (default: build/stable-lora, or on the PATH)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 1 ... N (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=400, metavar="N", help="optimizer steps of every run (default: %(default)s)")
    parser.add_argument("--shrink-ratio", type=float, default=0.005, metavar="LAMBDA", help="of the Stable-LoRA runs (default: %(default)s)")
    parser.add_argument("--learning-rate", default="1e-4", metavar="LR", help="(default: %(default)s)")
    parser.add_argument("--target-modules", default="q_proj,v_proj", metavar="WHICH", help="(default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="60 steps, two seeds")
    options = parser.parse_args(own)
    if options.quick:
        quick = 60
        options.shrink_ratio = 1 - (1 - options.shrink_ratio) ** (options.steps / quick)
        options.steps, options.seeds = quick, 2
    if options.steps < 4 or options.seeds < 1 or not 0 < options.shrink_ratio < 1:
        parser.error("wanted --steps of at least 4, --seeds of at least 1 and a --shrink-ratio between 0 and 1")
    built = PROJECT / "build" / "stable-lora"
    options.command = options.command or (str(built) if built.exists() else shutil.which("stable-lora"))
    if not options.command:
        parser.error("found no stable-lora; build it, or name it with --command")
    options.further = further
    return options


def width_of(base):
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as why:
        sys.exit(f"width_study: {base / 'config.json'}: {why}")
    width = config.get("hidden_size", config.get("n_embd"))
    if not isinstance(width, int) or width < 1:
        sys.exit(f"width_study: {base / 'config.json'}: wanted a hidden_size, found {width!r}")
    return width


def flags_of(options, base, method, seed):
    flags = ["--model", base.resolve(), "--max-steps", options.steps, "--seed", seed, "--learning-rate", options.learning_rate,
             "--shrink-ratio", options.shrink_ratio if method == "stable" else 0, "--target-modules", options.target_modules,
             "--stability-every", max(1, options.steps // 40), "--stability-pairs", "all", "--save-steps", 0]
    for file in options.data:
        flags += ["--data", Path(file).resolve()]
    return [str(flag) for flag in [*flags, *options.further]]


def train(options, base, method, seed):
    """The folder of the finished run. What made it is kept beside it, and must be the same when it is found again."""
    folder = options.output_dir / "runs" / f"{base.resolve().name}-{method}-{seed}"
    flags, told = flags_of(options, base, method, seed), folder.with_suffix(".flags.json")
    if told.exists() and json.loads(told.read_text(encoding="utf-8")) != flags:
        sys.exit(f"width_study: {folder} was made with other settings; name another --output-dir")
    if (folder / "adapter_model.safetensors").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    told.write_text(json.dumps(flags) + "\n", encoding="utf-8")
    done = subprocess.run([options.command, "train", *flags, "--output-dir", str(folder)], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"width_study: a run ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def read_steps(folder):
    """A dict per measured step: geometric means over pairs of the quantities, means of the norms."""
    lines = [json.loads(line) for line in (folder / "stability.jsonl").read_text(encoding="utf-8").splitlines()]
    found = []
    for step in sorted({line["step"] for line in lines}):
        pairs = [line for line in lines if line["step"] == step]
        for line in pairs:
            line["q_update"] = line["d1"] / line["d2_update"] if line["d2_update"] else None
        row = {"step": step, "pairs": len(pairs), "shrinking": sum(line["shrinking"] for line in pairs)}
        for name in QUANTITIES:
            log = mean_log(line[name] for line in pairs)
            row[name] = None if log is None else math.exp(log)
        for name in ("norm_a", "norm_b", "shrink_factor", "shrink_share"):
            known = [line[name] for line in pairs if line[name] is not None]
            row[name] = mean(known) if known else None
        found.append(row)
    return found


# ---- the exponents ----

def phase_logs(steps, last):
    """{(phase, quantity): mean log over the phase's measured steps}"""
    spans = {"early": [s for s in steps if 1 < s["step"] <= last / 4], "late": [s for s in steps if s["step"] > last * 3 / 4]}
    return {(phase, name): mean_log(s[name] for s in spans[phase]) for phase in PHASES for name in QUANTITIES}


def exponents(logs, widths, seeds):
    """logs: {(base, method, seed): phase_logs}; a dict per method, phase and quantity."""
    found = []
    for method in METHODS:
        for phase in PHASES:
            for name in QUANTITIES:
                fits = []
                for seed in seeds:
                    points = [(math.log(width), logs[base, method, seed][phase, name]) for base, width in widths.items()]
                    points = [p for p in points if p[1] is not None]
                    fit = slope(*zip(*points)) if len(points) > 1 else None
                    if fit:
                        fits.append(fit)
                if fits:
                    middle, low, high = interval([fit[0] for fit in fits])
                    found.append({"method": method, "phase": phase, "quantity": name, "widths": len(set(widths.values())),
                                  "seeds": len(fits), "exponent": middle, "low": low, "high": high,
                                  "log_factor": mean(fit[1] for fit in fits)})
    return found


# ---- what is left behind ----

def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: "" if v is None else f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})


def over_seeds(rows, base, method, name):
    """[(step, mean, least, most)] over the seeds of one base."""
    steps = {}
    for row in rows:
        if row["base"] == base and row["method"] == method and row[name] is not None:
            steps.setdefault(row["step"], []).append(row[name])
    return [(step, mean(values), min(values), max(values)) for step, values in sorted(steps.items())]


def draw_course(panel, rows, base, method, name, colour, words, dash=""):
    course = over_seeds(rows, base, method, name)
    panel.band([(s, low) for s, _, low, _ in course], [(s, high) for s, _, _, high in course], colour)
    panel.line([(s, middle) for s, middle, _, _ in course], colour, words, dash)


def course_panels(rows, base, place):
    """The paper's Figure 2: |A| and |B| under both methods; d1 against d2 under each."""
    mine = [row for row in rows if row["base"] == base]
    steps = {"values": [row["step"] for row in mine]}
    for at, (name, title) in enumerate((("norm_a", "|A|"), ("norm_b", "|B|"))):
        panel = svg_chart.Panel(*place(at), f"{title} in {base}, mean over pairs", steps,
                                {"values": [row[name] for row in mine], "include": [0]}, "step", title)
        for method, (words, colour) in METHODS.items():
            draw_course(panel, rows, base, method, name, colour, words)
        yield panel
    shown = ("d1", "d2", "d2_update")
    changes = [row[name] for row in mine for name in shown]
    for at, (method, (words, colour)) in enumerate(METHODS.items(), start=2):
        panel = svg_chart.Panel(*place(at), f"{words}: δ1 against δ2 in {base}", steps, {"values": changes, "log": True}, "step", "RMS")
        for name in shown:
            draw_course(panel, rows, base, method, name, colour, NAMES[name], DASHES[name])
        yield panel


def width_panel(logs, fits, widths, seeds, place):
    shown = ("d1", "d2", "d3")
    values = [math.exp(log["late", name]) for log in logs.values() for name in shown if log["late", name] is not None]
    panel = svg_chart.Panel(*place, "RMS against width, late (● δ1, ○ dashed δ2, dotted δ3)", {
        "values": list(widths.values()), "log": True, "ticks": [(w, str(w)) for w in sorted(set(widths.values()))]},
        {"values": values, "log": True}, "width", "RMS")
    for method, (words, colour) in METHODS.items():
        panel.names.append((words, colour, ""))
        for name in shown:
            for base, width in widths.items():
                found = [logs[base, method, seed]["late", name] for seed in seeds]
                if None not in found:
                    panel.point(width, math.exp(mean(found)), colour, *(math.exp(end(found)) for end in (min, max)),
                                hollow=name != "d1", words=f"{words}, {NAMES[name]}, {base}")
            for fit in fits:
                if (fit["method"], fit["phase"], fit["quantity"]) == (method, "late", name):
                    ends = (min(widths.values()), max(widths.values()))
                    panel.line([(w, math.exp(fit["log_factor"]) * w ** fit["exponent"]) for w in ends], colour, None, DASHES[name])
    return panel


def exponent_panel(fits, place):
    names = list(NAMES)
    ends = [v for fit in fits for v in (fit["exponent"], fit["low"], fit["high"]) if v is not None and abs(v) < 10]
    panel = svg_chart.Panel(*place, "exponents, 95 % over seeds (○ early, ● late)", {
        "values": [0, len(names)], "ticks": [(at + 0.5, NAMES[name]) for at, name in enumerate(names)]},
        {"values": ends, "include": [-1, 0, 1]}, "quantity", "exponent of the width")
    panel.level(0)
    for number, (method, (words, colour)) in enumerate(METHODS.items()):
        panel.names.append((words, colour, ""))
        for fit in fits:
            if fit["method"] == method and fit["quantity"] in names:
                at = names.index(fit["quantity"]) + 0.26 + 0.3 * number + 0.15 * PHASES.index(fit["phase"])
                panel.point(at, fit["exponent"], colour, fit["low"], fit["high"], hollow=fit["phase"] == "early",
                            words=f"{words}, {fit['quantity']}, {fit['phase']}: {fit['exponent']:.3f}")
    return panel


def write_chart(path, rows, logs, fits, widths, title):
    def place(at):
        return 86 + at % 3 * 430, 78 + at // 3 * 330, 320, 210

    widest = max(widths, key=widths.get)
    panels = list(course_panels(rows, widest, place))
    if fits:
        seeds = sorted({seed for _, _, seed in logs})
        panels += [width_panel(logs, fits, widths, seeds, place(4)), exponent_panel(fits, place(5))]
    svg_chart.write(path, 1330, 720, title, panels)


def show(fits):
    print(f"{'method':8} {'phase':6} {'':9} {'exponent':>9}  95 % over seeds")
    for fit in fits:
        ends = "" if fit["low"] is None else f"{fit['low']:.3f} ... {fit['high']:.3f}"
        print(f"{fit['method']:8} {fit['phase']:6} {fit['quantity']:9} {fit['exponent']:9.3f}  {ends}")


def main():
    options = arguments()
    widths = {base.resolve().name: width_of(base) for base in options.bases}
    if len(widths) < len(options.bases):
        sys.exit("width_study: two bases have the same name; their runs would have, too")
    seeds = range(1, options.seeds + 1)
    rows, logs = [], {}
    for base in sorted(options.bases, key=width_of):
        for method in METHODS:
            for seed in seeds:
                print(f"{base.resolve().name}, {METHODS[method][0]}, seed {seed}", file=sys.stderr)
                steps = read_steps(train(options, base, method, seed))
                name = base.resolve().name
                rows += [{"base": name, "width": widths[name], "method": method, "seed": seed, **step} for step in steps]
                logs[name, method, seed] = phase_logs(steps, options.steps)
    fits = exponents(logs, widths, seeds)
    write_csv(options.output_dir / "steps.csv", rows)
    if fits:
        write_csv(options.output_dir / "exponents.csv", fits)
        show(fits)
    else:
        print("width_study: the bases have one width, so there are no exponents", file=sys.stderr)
    title = (f"What a step changes, by width: λ = {options.shrink_ratio:.3g}, η = {options.learning_rate}, {options.steps} steps, "
             f"{options.seeds} seeds")
    write_chart(options.output_dir / "study.svg", rows, logs, fits, widths, title)
    return 0


if __name__ == "__main__":
    sys.exit(main())
