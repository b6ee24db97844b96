"""Makes the tables and plots of docs/EVIDENCE.md of what is in studies/results.

    python3 studies/evidence.py [--results studies/results] [--page docs/EVIDENCE.md] [--plots docs/evidence]

A line `<!-- table: NAME -->` in the page is followed by its table up to `<!-- end -->`, which is written anew; every part of study.py gets a plot PART.svg.
Arms are a method at a shrink ratio. An arm's cell is its mean over seeds at a learning rate; its best is its lowest cell without a diverged run. Differences are
paired by seed, intervals Student's of 95 % over the seeds. They do not know that the best learning rate was chosen on the same seeds, for every arm alike.
"""
import argparse
import csv
import re
import statistics
from pathlib import Path

import svg_chart
from intervals import interval, mean

HERE = Path(__file__).resolve().parent
COLOURS = ("#8a8a8a", "#e2762b", "#3b82f6", "#16a34a", "#a855f7", "#db2777", "#0891b2")
PANELS = {
    "shrinking": ("lora", "stable-lora"),
    "ratios found by rules": ("lora", "auto-horizon", "auto-displacement", "auto-balance", "gauge"),
    "controls": ("lora", "init-a-0.1", "lr-a-4", "wd-a", "small-alpha"),
    "rivals": ("lora", "lora+", "riemannian", "lora-rite"),
}
RULES = ("auto-horizon", "auto-displacement", "auto-balance", "init-a-0.1", "wd-a")
SHOWN_RATES = (1e-4, 4e-4, 1.6e-3)


class Part:
    """The runs of one file: losses[arm][rate] = {seed: held-out loss, None where it diverged}."""

    def __init__(self, path):
        self.name, self.losses, self.runs = path.stem, {}, []
        with open(path, newline="", encoding="utf-8") as file:
            self.runs = list(csv.DictReader(file))
        for run in self.runs:
            arm = f"stable-lora {float(run['shrink_ratio']):g}" if run["method"] == "stable-lora" else run["method"]
            cell = self.losses.setdefault(arm, {}).setdefault(float(run["learning_rate"]), {})
            cell[int(run["seed"])] = float(run["eval_loss"]) if run["status"] == "done" else None

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
    rates = [rate for rate in SHOWN_RATES if rate in part.losses["lora"]]
    yield "| arm | best rate | held-out loss there, mean ± sd | less lora, each at its best | " + " | ".join(f"less lora at {rate:g}" for rate in rates) + " | diverged |"
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
        yield f"| {words} | {at[1]:g}{edge} | {mean(losses):.4f}{spread} | {less} | " + " | ".join(same) + f" | {diverged or ''} |"


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
            sure = found and found[1] is not None and (found[1] > 0 or found[2] < 0)
            cells.append(("**" + signed(found) + "**" if sure else signed(found)) if found else "")
        yield f"| {word} | " + " | ".join(cells) + " |"


def rules_table(parts):
    """How often a rule without a search comes within a seed's deviation of the best ratio of the grid, rate by rate."""
    yield "| arm | cells | within one deviation of the best ratio of the grid, or better | below plain LoRA | above plain LoRA by more than its deviation |"
    yield "|---|---|---|---|---|"
    rows = [(arm, arm) for arm in RULES] + [(f"stable-lora {r}", f"stable-lora {r}") for r in ("0.0005", "0.002", "0.005", "0.02")]
    for words, arm in rows:
        cells = near = below = worse = 0
        for part in parts:
            if arm not in part.losses or not part.arms_of("stable-lora"):
                continue
            for rate, cell in part.losses[arm].items():
                ratios = [list(part.losses[a][rate].values()) for a in part.arms_of("stable-lora") if rate in part.whole(a)]
                plain = list(part.losses["lora"][rate].values())
                if not ratios or None in plain or len(plain) < 2:
                    continue
                cells += 1
                if None in cell.values():
                    worse += 1
                    continue
                best = min(ratios, key=mean)
                found = mean(cell.values())
                near += found <= mean(best) + statistics.stdev(best)
                below += found < mean(plain)
                worse += found > mean(plain) + statistics.stdev(plain)
        if cells:
            yield f"| {words} | {cells} | {near} ({100 * near / cells:.0f} %) | {below} | {worse} |"


def pairs_table(path):
    """By kind of map and ratio: how many pairs stopped shrinking, and when; over learning rates in three groups."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["method"] == "stable-lora"]
    if not lines:
        return
    rates = [rate for rate in SHOWN_RATES if any(float(line["learning_rate"]) == rate for line in lines)]
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
            lines.append((arm, [point for point in found if point[1] <= top]))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "EVIDENCE.md")
    parser.add_argument("--plots", type=Path, default=HERE.parent / "docs" / "evidence")
    o = parser.parse_args()
    parts = {path.stem: Part(path) for path in sorted(o.results.glob("*-*.csv")) if not path.stem.endswith(".pairs")}
    grids = [part for part in parts.values() if len(part.losses["lora"]) > 1]
    o.plots.mkdir(parents=True, exist_ok=True)
    tables = {"main": lambda: main_table(grids), "rules": lambda: rules_table(grids),
              "storage": lambda: storage_table(o.results / "bf16_storage.csv"), "resume": lambda: resume_table(o.results / "resume.csv")}
    for name, part in parts.items():
        tables[name] = lambda part=part: part_table(part)
        tables[f"{name} pairs"] = lambda name=name: pairs_table(o.results / f"{name}.pairs.csv")
        if part in grids:
            draw(part, o.plots)

    def fill(match):
        if match[1] not in tables:
            raise SystemExit(f"evidence.py: {o.page}: no table {match[1]}; there are {', '.join(tables)}")
        return "\n".join([f"<!-- table: {match[1]} -->", "", *tables[match[1]](), "", "<!-- end -->"])

    page = o.page.read_text(encoding="utf-8")
    o.page.write_text(re.sub(r"<!-- table: (.*?) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
