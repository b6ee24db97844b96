"""Makes the tables and plots of docs/EVIDENCE.md of what is in studies/results.

    python3 studies/evidence.py [--results studies/results] [--page docs/EVIDENCE.md] [--plots docs/evidence]

A line `<!-- table: NAME -->` in the page is followed by its table up to `<!-- end -->`, which is written anew; every part of study.py with several rates gets
a plot PART.svg. A cell is an arm at a learning rate of one part. Arms are a method at a shrink ratio. An arm's cell is its mean over seeds at a learning rate; its best is its lowest cell without a diverged run. Differences are
paired by seed, intervals Student's of 95 % over the seeds. They do not know that the best learning rate was chosen on the same seeds, for every arm alike.
"""
import argparse
import csv
import math
import re
import statistics
from pathlib import Path

import svg_chart
import width_study
from intervals import interval, mean

HERE = Path(__file__).resolve().parent
COLOURS = ("#8a8a8a", "#e2762b", "#3b82f6", "#16a34a", "#a855f7", "#db2777", "#0891b2", "#b58900", "#6366f1", "#ef4444", "#7c4a21", "#5eead4", "#f9a8d4")
PANELS = {
    "shrinking": ("lora", "stable-lora"),
    "ratios found by rules": ("lora", "auto-horizon", "auto-displacement", "auto-balance", "gauge"),
    "controls": ("lora", "init-a-0.1", "lr-a-4", "wd-a", "small-alpha"),
    "rivals": ("lora", "lora+", "riemannian", "lora-rite"),
}
COMPARED = ("stable-lora 0.0005", "stable-lora 0.005", "auto-balance", "init-a-0.1", "lr-a-4", "lora+")  # with lora, part by part
SHOWN_RATES = (1e-4, 4e-4, 1.6e-3)
LONG = 1000  # steps
BREAKING, TOO_FAR = 0.04, 0.2  # of loss: what differences.svg does not draw


def natural(name):
    """Names with numbers in the order of the numbers."""
    return [int(word) if word.isdigit() else word for word in re.split(r"(\d+)", name)]


def column_group(part):
    """The main table in three, so that it fits on a page: the family's widths on one task, the long runs, and the rest."""
    return "long" if part.steps >= LONG else "widths" if re.fullmatch(r"w\d+-shakespeare-all", part.name) else "others"


class Part:
    """The runs of some files: losses[arm][rate] = {seed: held-out loss, None where it diverged}."""

    def __init__(self, name, paths):
        self.name, self.losses, self.runs = name, {}, []
        for path in paths:
            with open(path, newline="", encoding="utf-8") as file:
                self.runs += csv.DictReader(file)
        for run in self.runs:
            arm = f"stable-lora {float(run['shrink_ratio']):g}" if run["method"] == "stable-lora" else run["method"]
            cell = self.losses.setdefault(arm, {}).setdefault(float(run["learning_rate"]), {})
            cell[int(run["seed"])] = float(run["eval_loss"]) if run["status"] == "done" else None
        self.steps = max(int(run["steps"]) for run in self.runs)

    def arms_of(self, method):
        return [arm for arm in self.losses if arm.split(" ")[0] == method]

    def whole(self, arm):
        """{rate: {seed: loss}} of the cells in which nothing diverged."""
        return {rate: cell for rate, cell in self.losses[arm].items() if None not in cell.values()}

    def best(self, *arms):
        """(arm, rate) of the lowest mean."""
        return min(((arm, rate) for arm in arms for rate in self.whole(arm)), key=lambda at: mean(self.losses[at[0]][at[1]].values()), default=None)

    def difference(self, at, other):
        """Mean and interval of at less other, paired by seed."""
        a, b = (self.losses[arm][rate] for arm, rate in (at, other))
        return interval([a[seed] - b[seed] for seed in a if seed in b])


def arms_of_table(part):
    """[(words, arms to choose from)]; stable-lora also with its ratio chosen."""
    rows, seen = [], set()
    for arm in part.losses:
        method = arm.split(" ")[0]
        many = part.arms_of(method)
        if len(many) > 1 and method not in seen:
            rows.append((f"{method}, best of {len(many)} ratios", many))
        seen.add(method)
        rows.append((arm, [arm]))
    return rows


def signed(found, digits=4):
    middle, low, high = found
    return f"{middle:+.{digits}f}" + (f" [{low:+.{digits}f}, {high:+.{digits}f}]" if low is not None else "")


def part_table(part):
    rates = [rate for rate in SHOWN_RATES if rate in part.losses["lora"]] or sorted(part.losses["lora"])
    yield "| arm | best rate | held-out loss there, mean ± sd | less lora, each at its best | " + "".join(f"less lora at {rate:g} | " for rate in rates) + "diverged |"
    yield "|" + "---|" * (5 + len(rates))
    base = part.best("lora")
    for words, arms in arms_of_table(part):
        at = part.best(*arms)
        if at is None:
            yield f"| {words} | | every rate diverged |" + " |" * (2 + len(rates))
            continue
        losses = list(part.losses[at[0]][at[1]].values())
        every = sorted(part.losses["lora"])
        edge = " (edge)" if at[1] in (every[0], every[-1]) and len(every) > 1 else ""
        same = []
        for rate in rates:
            there = [arm for arm in arms if rate in part.whole(arm)]
            chosen = min(there, key=lambda arm: mean(part.losses[arm][rate].values()), default=None)
            same.append("" if words == "lora" else f"{part.difference((chosen, rate), ('lora', rate))[0]:+.4f}" if chosen and rate in part.whole("lora") else "diverged")
        diverged = sum(value is None for arm in arms for cell in part.losses[arm].values() for value in cell.values())
        less = "" if words == "lora" else signed(part.difference(at, base))
        spread = f" ± {statistics.stdev(losses):.4f}" if len(losses) > 1 else ""
        yield f"| {words} | {at[1]:g}{edge} | {mean(losses):.4f}{spread} | {less} | " + "".join(f"{cell} | " for cell in same) + f"{diverged or ''} |"


def main_table(parts):
    """Each arm at its best against lora at its best, by part."""
    words = []
    for part in parts:
        words += [w for w, _ in arms_of_table(part) if w not in words and w != "lora"]
    words.sort(key=lambda w: (not w.startswith("stable-lora, "), not w.startswith("stable-lora"), not w.startswith("auto"), w == "gauge"))
    yield "| arm | " + " | ".join(part.name for part in parts) + " |"
    yield "|" + "---|" * (1 + len(parts))
    for word in words:
        cells = []
        for part in parts:
            arms = dict(arms_of_table(part)).get(word)
            at = part.best(*arms) if arms else None
            found = part.difference(at, part.best("lora")) if at else None
            cells.append(("**" + signed(found) + "**" if sure(found) else signed(found)) if found else "")
        yield f"| {word} | " + " | ".join(cells) + " |"


def fresh_table(parts):
    """Arms at rates that other seeds have chosen, less lora at its own such rate."""
    yield "| arm | " + " | ".join(part.name.removesuffix("-fresh") for part in parts) + " |"
    yield "|" + "---|" * (1 + len(parts))
    for arm in sorted({arm for part in parts for arm in part.losses}, key=order_of):
        cells = []
        for part in parts:
            at = part.best(arm) if arm in part.losses else None
            losses = list(part.losses[at[0]][at[1]].values()) if at else []
            less = part.difference(at, part.best("lora")) if at and arm != "lora" else None
            cells.append((f"{mean(losses):.4f} ± {statistics.stdev(losses):.4f} at {at[1]:g}" + (": " + ("**" + signed(less) + "**" if sure(less) else signed(less)) if less else "")) if at else "")
        yield f"| {arm} | " + " | ".join(cells) + " |"


def rivals_table(parts):
    """Each rival at its best less stable-lora at its best rate and ratio, and at its best rate with the smallest ratio."""
    rivals = ("lora", "lr-a-4", "init-a-0.1", "lora+", "riemannian", "lora-rite")
    yield "| part | less | " + " | ".join(rivals) + " |"
    yield "|" + "---|" * (2 + len(rivals))
    for part in parts:
        shrunk = sorted(part.arms_of("stable-lora"), key=order_of)
        for words, arms in ((f"stable-lora, best of {len(shrunk)} ratios", shrunk), (shrunk[0], shrunk[:1])):
            found = [part.difference(part.best(arm), part.best(*arms)) if arm in part.losses else None for arm in rivals]
            yield f"| {part.name} | {words} | " + " | ".join(("**" + signed(f) + "**" if sure(f) else signed(f)) if f else "" for f in found) + " |"


def sure(found):
    """Below 0, above 0, or neither (0): what an interval says."""
    return -1 if found[2] is not None and found[2] < 0 else 1 if found[1] is not None and found[1] > 0 else 0


def order_of(arm):
    known = ["lora", "stable-lora", *(method for methods in PANELS.values() for method in methods)]
    method, _, ratio = arm.partition(" ")
    return known.index(method) if method in known else len(known), float(ratio or 0)


def cells_table(parts):
    """Arm by arm, over the cells of all parts: against lora at the same rate, and against the best ratio of the part's grid at that rate."""
    yield "| arm | cells | better than lora | neither | worse | least, median, greatest difference | within a deviation of the best ratio, or better |"
    yield "|---|---|---|---|---|---|---|"
    for arm in sorted({arm for part in parts for arm in part.losses}, key=order_of):
        found, near = [], 0
        for part in parts:
            for rate, cell in part.losses.get(arm, {}).items():
                if rate not in part.whole("lora"):
                    continue
                if None in cell.values():
                    found.append((float("inf"), None, None))
                    continue
                found.append(part.difference((arm, rate), ("lora", rate)))
                best = min((list(part.losses[other][rate].values()) for other in part.arms_of("stable-lora") if rate in part.whole(other)), key=mean)
                near += mean(cell.values()) <= mean(best) + statistics.stdev(best)
        middles = sorted(middle for middle, _, _ in found)
        worse = sum(sure(f) > 0 or f[0] == float("inf") for f in found)
        better = sum(sure(f) < 0 for f in found)
        ends = ", ".join(f"{v:+.4f}" for v in (middles[0], statistics.median(middles), middles[-1]))
        against = f"{better} | {len(found) - better - worse} | {worse} | {ends}" if arm != "lora" else "| | |"
        yield f"| {arm} | {len(found)} | {against} | {near} ({100 * near / len(found):.0f} %) |"


def same_loss_rate(part, loss):
    """The learning rate, up to its best, at which lora comes to this loss: its curve between the cells is straight in the logarithm of the rate. None beyond it."""
    curve = sorted((rate, mean(cell.values())) for rate, cell in part.whole("lora").items() if rate <= part.best("lora")[1])
    for (low, worse), (high, better) in zip(curve, curve[1:]):
        if better <= loss <= worse:
            return low * (high / low) ** ((worse - loss) / (worse - better))
    return None


def rates_table(part):
    """Each arm as a plain LoRA of another learning rate."""
    rates = sorted(rate for rate in part.losses["lora"] if rate < part.best("lora")[1])
    yield "| arm | " + " | ".join(f"{rate:g}" for rate in rates) + " |"
    yield "|" + "---|" * (1 + len(rates))
    for arm in sorted(set(part.losses) - {"lora"}, key=order_of):
        cells = []
        for rate in rates:
            same = same_loss_rate(part, mean(part.losses[arm][rate].values())) if rate in part.whole(arm) else None
            lowest = mean(part.losses["lora"][rates[0]].values())
            cells.append(f"{same / rate:.2f}" if same else "below" if mean(part.losses[arm][rate].values()) > lowest else "above")
        yield f"| {arm} | " + " | ".join(cells) + " |"


def by_rate_table(part):
    """Every arm at every rate: lora's loss, and what the others are less lora."""
    rates = sorted(part.losses["lora"])
    yield "| arm | " + " | ".join(f"{rate:g}" for rate in rates) + " |"
    yield "|" + "---|" * (1 + len(rates))
    for arm in sorted(part.losses, key=order_of):
        cells = []
        for rate in rates:
            if rate not in part.whole(arm) or rate not in part.whole("lora"):
                cells.append("diverged" if rate in part.losses[arm] else "")
            elif arm == "lora":
                losses = list(part.losses[arm][rate].values())
                cells.append(f"{mean(losses):.4f} ± {statistics.stdev(losses):.4f}")
            else:
                less = part.difference((arm, rate), ("lora", rate))
                cells.append("**" + signed(less) + "**" if sure(less) else signed(less))
        yield f"| {arm} | " + " | ".join(cells) + " |"


def paired(part, arm, other):
    rate = next(iter(part.losses[arm]))
    return signed(part.difference((arm, rate), (other, rate)))


def stop_table(parts):
    yield "| rate | lora | shrunk, with the rule | shrunk for ever | with the rule less lora | for ever less with the rule | pairs that stopped, of 28 |"
    yield "|---|---|---|---|---|---|---|"
    for part in parts:
        arms = "lora", "stable-lora 0.005", "never-stops"
        losses = [list(next(iter(part.losses[arm].values())).values()) for arm in arms]
        stopped = mean(int(run["pairs_latched"]) for run in part.runs if run["method"] == "stable-lora")
        cells = [f"{mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in losses]
        yield (f"| {float(part.runs[0]['learning_rate']):g} | " + " | ".join(cells) +
               f" | {paired(part, arms[1], arms[0])} | {paired(part, arms[2], arms[1])} | {stopped:.1f} |")


def parts_table(parts):
    yield "| part | arms | learning rates | steps | seeds | runs | held-out loss before | lora at its best | which is at |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for part in parts:
        rates = sorted(part.losses["lora"])
        before = part.runs[0].get("eval_loss_before", "")
        at = part.best("lora")
        yield (f"| {part.name} | {len(part.losses)} | " + ", ".join(f"{rate:g}" for rate in rates) + f" | {part.steps} | {len({run['seed'] for run in part.runs})} | "
               f"{len(part.runs)} | {f'{float(before):.4f}' if before else 'not kept'} | {mean(part.losses['lora'][at[1]].values()):.4f} | {at[1]:g} |")


def bases_table(path):
    """The held-out loss, and by how much it fell over the last tenth of the steps."""
    yield "| base | parameters | steps | tokens read | held-out loss | its fall over the last tenth of the steps |"
    yield "|---|---|---|---|---|---|"
    for (base, parameters), lines in read_groups(path, "base", "parameters").items():
        last = lines[-1]
        before = max((line for line in lines if int(line["step"]) <= 0.9 * int(last["step"])), key=lambda line: int(line["step"]))
        fall = float(before["held_out_loss"]) - float(last["held_out_loss"])
        yield (f"| {base} | {int(parameters) / 1e6:.2f} M | {last['step']} | {int(last['tokens']) / 1e6:.1f} M | {float(last['held_out_loss']):.3f} | "
               f"{fall:.3f} (from step {before['step']}) |")


def choice_table(path):
    yield "| base | set | rows | right, by log-probability | by log-probability per byte | chance |"
    yield "|---|---|---|---|---|---|"
    for (base, task), lines in read_groups(path, "base", "set").items():
        line = lines[0]
        cells = [f"{100 * float(line[key]):.1f} ± {100 * float(line[key + '_stderr']):.1f} %" for key in ("accuracy", "accuracy_norm")]
        yield f"| {base} | {task} | {line['rows']} | " + " | ".join(cells) + f" | {100 * float(line['chance']):.1f} % |"


def pairs_table(path):
    """By kind of map and ratio: how many pairs stopped shrinking, and when; over learning rates in three groups."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["method"] == "stable-lora"]
    if not lines:
        return
    every = sorted({float(line["learning_rate"]) for line in lines})
    rates = every if len(every) <= 5 else [rate for rate in SHOWN_RATES if rate in every]
    yield "| map | n to m | shrink ratio | " + " | ".join(f"stopped at {rate:g}" for rate in rates) + " |"
    yield "|" + "---|" * (3 + len(rates))
    for kind in dict.fromkeys(line["map"] for line in lines):
        for ratio in dict.fromkeys(line["shrink_ratio"] for line in lines):
            mine = {float(line["learning_rate"]): line for line in lines if (line["map"], line["shrink_ratio"]) == (kind, ratio)}
            some = next(iter(mine.values()))
            cells = [f"{100 * int(mine[rate]['stopped']) / int(mine[rate]['pairs']):.0f} %" +
                     (f", step {float(mine[rate]['stop_step_median']):.0f}" if mine[rate]["stop_step_median"] else "") if rate in mine else "" for rate in rates]
            yield f"| {kind} | {some['n']} to {some['m']} | {float(ratio):g} | " + " | ".join(cells) + " |"


def read_groups(path, *keys):
    """{values of the keys: [lines]} in the file's order."""
    groups = {}
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            groups.setdefault(tuple(line[key] for key in keys), []).append(line)
    return groups


def spread(lines, key, digits=4):
    values = [float(line[key]) for line in lines]
    return f"{mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def storage_table(path):
    yield "| kept in | shrink ratio | \\|A\\| after one shrink over what it should be | after 100 | held-out loss |"
    yield "|---|---|---|---|---|"
    for (storage, ratio), lines in read_groups(path, "storage", "shrink_ratio").items():
        one, many = (mean(float(line[f"norm_kept_of_{count}"]) for line in lines) for count in ("1_shrink", "100_shrinks"))
        yield f"| {storage} | {float(ratio):g} | {one:.4f} | {many:.4f} | {spread(lines, 'eval_loss')} |"


def resume_table(path):
    groups = read_groups(path, "shrink_ratio", "learning_rate", "how")
    yield "| shrink ratio | rate | pairs shrinking half-way, of 28 | at once | armed again | latched | armed less latched |"
    yield "|---|---|---|---|---|---|---|"
    for ratio, rate in dict.fromkeys(key[:2] for key in groups):
        whole, armed, latched = (groups[ratio, rate, how] for how in ("at once", "armed", "latched"))
        less = interval([float(a["eval_loss"]) - float(b["eval_loss"]) for a, b in zip(armed, latched)])
        half = mean(float(line["shrinking_half_way"]) for line in whole)
        yield f"| {float(ratio):g} | {float(rate):g} | {half:.1f} | " + " | ".join(spread(lines, "eval_loss") for lines in (whole, armed, latched)) + f" | {signed(less)} |"


def draw(part, folder):
    lora = part.whole("lora")
    top = max((mean(cell.values()) for cell in lora.values()), default=0)
    panels = []
    for title, methods in PANELS.items():
        arms = [arm for method in methods for arm in part.arms_of(method)]
        if len(arms) < 2:
            continue
        lines = []
        for arm in arms:
            found = sorted((rate, mean(cell.values()), statistics.stdev(cell.values()) if len(cell) > 1 else 0) for rate, cell in part.whole(arm).items())
            lines.append((arm, [point for point in found if point[1] <= 1.6 * top]))
        at = len(panels)
        panel = svg_chart.Panel(86 + at % 2 * 560, 78 + at // 2 * 330, 450, 210, title, {"values": list(lora), "log": True},
                                {"values": [v for _, points in lines for _, v, _ in points]}, "learning rate", "held-out loss")
        for number, (arm, points) in enumerate(lines):
            colour = COLOURS[number % len(COLOURS)]
            panel.band([(rate, v - sd) for rate, v, sd in points], [(rate, v + sd) for rate, v, sd in points], colour)
            panel.line([(rate, v) for rate, v, _ in points], colour, arm, "6 3" if arm == "lora" else "")
        panels.append(panel)
    if panels:
        seeds = len({run["seed"] for run in part.runs})
        svg_chart.write(folder / f"{part.name}.svg", 1140, 390 + (len(panels) - 1) // 2 * 330, f"{part.name}: held-out loss, mean ± sd of {seeds} seeds", panels)


def draw_differences(parts, folder):
    """What each of some arms does at each rate, less lora at the same rate, a line per part; without what would hide the rest: rates above lora's best at
    which lora itself comes apart, and arms that do."""
    def drawn(part, arm, rate):
        best = part.best("lora")[1]
        lost = mean(part.losses["lora"][rate].values()) - mean(part.losses["lora"][best].values())
        return (rate <= best or lost < BREAKING) and part.difference((arm, rate), ("lora", rate))[0] < TOO_FAR

    panels = []
    for at, arm in enumerate(COMPARED):
        lines = [(part, sorted((rate, *part.difference((arm, rate), ("lora", rate))) for rate in part.whole(arm) if rate in part.whole("lora") and drawn(part, arm, rate)))
                 for part in parts if arm in part.losses]
        panel = svg_chart.Panel(86 + at % 2 * 560, 78 + at // 2 * 330, 450, 210, f"{arm} less lora, at the same rate",
                                {"values": [rate for part in parts for rate in part.losses["lora"]], "log": True},
                                {"values": [v for _, points in lines for p in points for v in p[1:]], "include": [0]}, "learning rate", "difference in loss")
        panel.level(0)
        for part, points in lines:
            colour = COLOURS[1 + parts.index(part) % (len(COLOURS) - 1)]
            panel.line([(rate, middle) for rate, middle, _, _ in points], colour, None, "6 3" if part.steps >= LONG else "")
            for rate, middle, low, high in points:
                panel.point(rate, middle, colour, low, high, words=f"{part.name}, {rate:g}: {middle:+.4f}")
        panels.append(panel)
    height = 60 + (len(panels) + 1) // 2 * 330
    legend = [(part.name, COLOURS[1 + parts.index(part) % (len(COLOURS) - 1)], "6 3" if part.steps >= LONG else "") for part in parts]
    svg_chart.write(folder / "differences.svg", 1140, height + 20 * ((len(legend) + 3) // 4), "Held-out loss less lora's at the same learning rate, 95 % over seeds; below 0 is better",
                    panels, legend, (86, height))


def draw_bases(path, folder):
    groups = {base: lines for (base,), lines in read_groups(path, "base").items()}
    points = {base: [(float(line["step"]), float(line["held_out_loss"])) for line in lines] for base, lines in groups.items()}
    panel = svg_chart.Panel(86, 78, 560, 230, "held-out loss of the bases while they were pre-trained", {"values": [x for line in points.values() for x, _ in line], "include": [0]},
                            {"values": [y for line in points.values() for _, y in line if y < 5.5]}, "step of 4096 tokens", "loss")
    for number, (base, line) in enumerate(points.items()):
        panel.line([p for p in line if p[1] < 5.5], COLOURS[1 + number % 6], base)
    svg_chart.write(folder / "bases.svg", 700, 380, "Bases", [panel])


def number_of(text):
    try:
        return int(text) if text.isdigit() else float(text) if text else None
    except ValueError:
        return text


class Widths:
    """The width study again, from its measured steps."""

    def __init__(self, path):
        with open(path, newline="", encoding="utf-8") as file:
            self.rows = [{key: number_of(value) for key, value in line.items()} for line in csv.DictReader(file)]
        self.widths = {row["base"]: row["width"] for row in self.rows}
        self.steps, runs = max(row["step"] for row in self.rows), {}
        for row in self.rows:
            runs.setdefault((row["base"], row["method"], row["seed"]), []).append(row)
        self.logs = {run: width_study.phase_logs(steps, self.steps) for run, steps in runs.items()}
        self.seeds = sorted({row["seed"] for row in self.rows})
        self.fits = width_study.exponents(self.logs, self.widths, self.seeds)

    def table(self):
        yield "| | " + " | ".join(f"{words}, {phase}" for words, _ in width_study.METHODS.values() for phase in width_study.PHASES) + " |"
        yield "|---|---|---|---|---|"
        for name, words in width_study.NAMES.items():
            found = {(fit["method"], fit["phase"]): fit for fit in self.fits if fit["quantity"] == name}
            cells = [signed([found[at][key] for key in ("exponent", "low", "high")], 2) for at in ((m, p) for m in width_study.METHODS for p in width_study.PHASES)]
            yield f"| {words} | " + " | ".join(cells) + " |"

    def ratio_table(self):
        """q = d1/d2 itself, at every width."""
        yield "| base | " + " | ".join(f"{words}, {phase}" for words, _ in width_study.METHODS.values() for phase in width_study.PHASES) + " |"
        yield "|---|---|---|---|---|"
        for base in sorted(self.widths, key=self.widths.get):
            cells = []
            for method in width_study.METHODS:
                for phase in width_study.PHASES:
                    found = [self.logs[base, method, seed][phase, "q_update"] for seed in self.seeds]
                    cells.append("{:.3g} [{:.3g}, {:.3g}]".format(*map(math.exp, interval(found))))
            yield f"| {base} | " + " | ".join(cells) + " |"

    def draw(self, folder):
        title = f"What a step changes: {self.steps} steps, {len(self.seeds)} seeds"
        width_study.write_chart(folder / "width.svg", self.rows, self.logs, self.fits, self.widths, title)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "EVIDENCE.md")
    parser.add_argument("--plots", type=Path, default=HERE.parent / "docs" / "evidence")
    o = parser.parse_args()
    files = {}  # of a part; those of fresh seeds are a file a rate
    for path in sorted(o.results.glob("*-*.csv"), key=lambda path: natural(path.stem)):
        if not path.stem.endswith(".pairs"):
            files.setdefault(re.sub(r"(-fresh)-.*", r"\1", path.stem), []).append(path)
    parts = {name: Part(name, paths) for name, paths in files.items()}
    fresh = [part for part in parts.values() if part.name.endswith("-fresh")]
    grids = [part for part in parts.values() if not part.name.startswith("stop-rule") and part not in fresh]
    stops = sorted((part for name, part in parts.items() if name.startswith("stop-rule")), key=lambda part: float(part.runs[0]["learning_rate"]))
    tuned = [part for part in grids if len(part.losses["lora"]) > 1]
    short, long = ([part for part in grids if (part.steps >= LONG) == is_long] for is_long in (False, True))
    o.plots.mkdir(parents=True, exist_ok=True)
    groups = {group: [part for part in tuned if column_group(part) == group] for group in ("widths", "others", "long")}
    tables = {f"main, {group}": lambda members=members: main_table(members) for group, members in groups.items()}
    tables |= {"fresh": lambda: fresh_table(fresh), "rivals": lambda: rivals_table(tuned), "parts": lambda: parts_table(grids), "cells": lambda: cells_table(short), "cells, long": lambda: cells_table(long),
              "stop rule": lambda: stop_table(stops), "storage": lambda: storage_table(o.results / "bf16_storage.csv"),
              "resume": lambda: resume_table(o.results / "resume.csv"), "choice": lambda: choice_table(o.results / "choice.csv")}
    for name, part in parts.items():
        tables[name] = lambda part=part: part_table(part)
        tables[f"{name} as rates"] = lambda part=part: rates_table(part)
        tables[f"{name} by rate"] = lambda part=part: by_rate_table(part)
        tables[f"{name} pairs"] = lambda name=name: pairs_table(o.results / f"{name}.pairs.csv")
        if part in tuned:
            draw(part, o.plots)
    draw_differences(grids, o.plots)
    if (o.results / "bases.csv").exists():
        tables["bases"] = lambda: bases_table(o.results / "bases.csv")
        draw_bases(o.results / "bases.csv", o.plots)
    if (o.results / "width_steps.csv").exists():
        widths = Widths(o.results / "width_steps.csv")
        tables |= {"width ratios": widths.ratio_table} | ({"widths": widths.table} if widths.fits else {})
        widths.draw(o.plots)

    def fill(match):
        if match[1] not in tables:
            raise SystemExit(f"evidence.py: {o.page}: no table {match[1]}; there are {', '.join(tables)}")
        return "\n".join([f"<!-- table: {match[1]} -->", "", *tables[match[1]](), "", "<!-- end -->"])

    page = o.page.read_text(encoding="utf-8")
    o.page.write_text(re.sub(r"<!-- table: (.*?) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
