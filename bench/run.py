#!/usr/bin/env python3
"""Runs the benches in one go, on one machine: ceilings, kernels, whole steps, PEFT beside them, one thread against several.

usage: bench/run.py [--build build] [--only ceilings,product,ops,optimizer,tokenize,step,peer,threads,memory] [--model NAME,...]
                    [--data dense512,dense2048,arc-easy] [--targets qv,all-linear] [--models DIR] [--shared ../shared] [--threads N]
                    [--quick] [--csv FILE] [--svg docs/roofline.svg]

PYTHON in the environment names an interpreter with PyTorch, Transformers and PEFT; without it, without models or without ../shared what needs
them is left out, and said. Every figure goes to the CSV; the tables on standard output hold those that answer a question.
README.md beside this file says what each section measures.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from results import Results
from roofline import write_svg
from workload import DATA, MODELS, TARGETS, Missing, ensure_model, fits, rows_file, run_csv, run_ours, run_peer

SOURCE = Path(__file__).resolve().parent.parent
SECTIONS = ("ceilings", "product", "ops", "optimizer", "tokenize", "step", "peer", "threads", "memory")
SHARED_CORE = 1.5  # several threads that are less than so many times one share a core
APART = 0.5  # of the best handover: cores that are slower do not share a third-level cache, others of this run did
TURNS = 6  # of one thread and of all
ROUNDS = 3  # of products on several threads, minutes apart: where the cores lie changes within seconds


def parse():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0], add_help=True)
    parser.add_argument("--build", type=Path, default=SOURCE / "build")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--model", default=",".join(MODELS))
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--models", type=Path)
    parser.add_argument("--shared", type=Path, default=SOURCE.parent / "shared")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--svg", type=Path)
    o = parser.parse_args()
    o.build = o.build.resolve()
    o.shared = o.shared.resolve()
    o.models = (o.models or o.build / "bench" / "models").resolve()
    o.csv = o.csv or o.build / "bench" / "results.csv"
    o.python = os.environ.get("PYTHON") or None
    for name, allowed in (("only", SECTIONS), ("model", MODELS), ("data", DATA), ("targets", TARGETS)):
        words = getattr(o, name).split(",")
        unknown = [word for word in words if word not in allowed]
        if unknown:
            parser.error(f"--{name} {unknown[0]}: wanted some of {','.join(allowed)}")
        setattr(o, name, words)
    return o


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Run:
    """One run of the driver: its options, its results so far, the ceilings that everything is compared with."""

    def __init__(self, options, folder):
        self.o = options
        self.folder = folder
        self.results = Results()
        self.fresh = []  # figures that wait for the verdict of judged()
        self.ceiling = {}  # (what, threads) -> rate, the best so far
        self.readings = {}  # the same, the latest
        self.best_profile = None  # of the step that the roofline shows
        self.ours = {}  # (model, data, targets) -> measurements of a step

    def add(self, section, case, threads, metric, value, unit):
        self.fresh.append((section, case, threads, metric, value, unit))

    @contextmanager
    def judged(self):
        """What is added inside counts, if before and after it several threads were several cores: two that share one core, or that
        another program holds, are no measure of the code. One thread always counts."""
        several = self.read_ceilings()
        try:
            yield
        finally:
            several = self.read_ceilings() and several
            if not several and any(threads > 1 for _, _, threads, *_ in self.fresh):
                say(f"{self.o.threads} threads were less than {SHARED_CORE} times one: they shared a core, and this does not count")
            for figure in self.fresh:
                self.results.add(*figure, figure[2] == 1 or several)
            self.fresh = []

    def read_ceilings(self):
        """True when all threads together did what several cores do. The best reading so far is the ceiling: programs beside this one
        only lower one."""
        now = {(row["what"], int(row["threads"])): float(row["rate"])
               for row in run_csv(self.o.build / "bench" / "bench_ceiling", "--threads", self.o.threads, "--tries", 60)}
        self.readings = now
        for key, rate in now.items():
            self.keep(key, rate)
        return self.o.threads == 1 or now["fp32", self.o.threads] >= SHARED_CORE * now["fp32", 1]

    def keep(self, key, rate):
        """The best reading so far: of a time the least."""
        self.ceiling[key] = (min if key[0] == "call" else max)(self.ceiling.get(key, rate), rate)

    def handover(self):
        """GB/s at which a thread takes over what another has just written, now."""
        row, = run_csv(self.o.build / "bench" / "bench_ceiling", "--threads", self.o.threads, "--only", "handover")
        self.keep((row["what"], self.o.threads), float(row["rate"]))
        return float(row["rate"])

    def roof_of(self, precision):
        """Which ceiling products of that precision run against, at the level that the environment or the processor chooses."""
        level = os.environ.get("STLORA_CPU_LEVEL")
        for roof, needed in (("bf16 tiles", "avx512-amx"), ("bf16", "avx512-bf16")):
            if precision == "bf16" and self.ceiling.get((roof, 1)) and level in (None, needed):
                return roof
        return "fp32"

    # ---- ceilings and kernels ----

    def ceilings(self):
        for (what, threads), rate in self.ceiling.items():
            unit = {"memory": "GB/s", "handover": "GB/s", "call": "us"}.get(what, "GFLOP/s")
            self.add("ceilings", what, threads, "time" if unit == "us" else "rate", rate, unit)

    def product_rows(self, threads, flags):
        """Each product in its best round."""
        rounds, tries = (1, 15) if threads == 1 or self.o.quick else (ROUNDS, 15 // ROUNDS)
        best = {}
        for _ in range(rounds):
            for row in run_csv(self.o.build / "bench" / "bench_product", "--threads", threads, "--tries", tries, *flags):
                key = row["dtype"], row["direction"], row["shape"], row["tokens"]
                if key not in best or float(row["gflops"]) > float(best[key]["gflops"]):
                    best[key] = row
        return best.values()

    def product(self):
        flags = ["--tokens", "512", "--tries", 3, "--shape", "896x896"] if self.o.quick else ["--tokens", "1,128,512,2048", "--head"]
        for threads in self.thread_counts():
            shapes = {}
            for row in self.product_rows(threads, flags):
                if row["tokens"] != "1":
                    shapes.setdefault(f"{row['dtype']} {row['direction']} all shapes T={row['tokens']}", []).append(row)
                case = f"{row['dtype']} {row['direction']} {row['shape']} T={row['tokens']}"
                self.add("product", case, threads, "rate", float(row["gflops"]), "GFLOP/s")
                self.add("product", case, threads, "of_ceiling", float(row["percent"]), "%")
                self.add("product", case, threads, "of_ceiling_median", float(row["median_percent"]), "%")
                if row["tokens"] == "1":
                    self.add("product", case, threads, "weights", float(row["weights_gb_s"]), "GB/s")
                    self.add("product", case, threads, "of_memory", 100 * float(row["weights_gb_s"]) / float(row["memory_gb_s"]), "%")
            for case, rows in shapes.items():
                for metric, column in (("of_ceiling", "percent"), ("of_ceiling_median", "median_percent")):
                    self.add("product", case, threads, metric, median(float(row[column]) for row in rows), "%")

    def ops(self):
        flags = ["--tokens", "64", "--tries", 3] if self.o.quick else []
        for threads in self.thread_counts():
            for row in run_csv(self.o.build / "bench" / "bench_ops", "--threads", threads, *flags):
                case = f"{row['dtype']} {row['op']} T={row['tokens']}"
                self.add("ops", case, threads, "time", float(row["ms"]), "ms")
                self.add("ops", case, threads, "rate", float(row["gflops"]), "GFLOP/s")
                self.add("ops", case, threads, "traffic", float(row["gbytes_per_second"]), "GB/s")
                self.add("ops", case, threads, "of_roof", float(row["percent"]), "%")

    def thread_counts(self):
        return [1] if self.o.threads == 1 or self.o.quick else [1, self.o.threads]

    def optimizer(self):
        flags = ["--steps", 21] if self.o.quick else []
        for threads in self.thread_counts():
            plain, shrinking = run_csv(self.o.build / "bench" / "bench_optimizer", "--threads", threads, *flags)
            extra = float(shrinking["median_ms"]) - float(plain["median_ms"])
            case = "Qwen2-0.5B all-linear r 8"
            self.add("optimizer", case, threads, "adamw", float(plain["median_ms"]), "ms")
            self.add("optimizer", case, threads, "stable_lora", float(shrinking["median_ms"]), "ms")
            more = int(shrinking["bytes"]) - int(plain["bytes"])  # the allocator rounds each of them: a hundred bytes are none
            self.add("optimizer", case, threads, "extra_bytes", round(more / int(plain["elements"]), 3) + 0.0, "byte/element")
            step = self.ours.get(("qwen2-0.5b", "dense512", "all-linear"))
            if step:
                self.add("optimizer", case, threads, "extra_of_measured_step", 0.1 * extra / step["seconds_per_step"], "%")
            rate = self.ceiling.get((self.roof_of("bf16"), threads))
            if rate:  # a step of 512 tokens is 512 (4 P + attention) = 512 * 2.053 GFLOP at least
                self.add("optimizer", case, threads, "extra_of_floor_step", 0.1 * extra / (512 * 2.053 / rate), "%")

    def tokenize(self):
        if not (self.o.shared / "data" / "tokenizers").is_dir():
            raise Missing(f"{self.o.shared} holds no tokenizers")
        flags = ["--tries", 1, "--tokenizer", "gpt2"] if self.o.quick else []
        for threads in self.thread_counts():
            for row in run_csv(self.o.build / "bench" / "bench_tokenize", self.o.shared / "data", "--threads", threads, *flags):
                case = f"{row['tokenizer']} {row['what']}"
                self.add("tokenize", case, threads, "time", float(row["ms"]), "ms")
                self.add("tokenize", case, threads, "rate", float(row["mb_per_second"]), "MB/s")

    # ---- whole steps ----

    def cases(self):
        """What is trained: (model, data, targets) that the options choose and that are there."""
        for model in self.o.model:
            if model == "llama3.2-1b":
                continue  # in section memory only
            for data in MODELS[model].own_data or self.o.data:
                for targets in self.o.targets:
                    if MODELS[model].own_data and targets != "all-linear" or not fits(model, data):
                        continue
                    try:
                        ensure_model(self.o, model, say)
                        rows_file(self.o, model, data, self.folder)
                    except Missing as why:
                        say(f"{model} {data}: left out: {why}")
                        break
                    yield model, data, targets

    def measure_ours(self, model, data, targets, threads, section, **options):
        case = f"{model} {data} {targets}"
        say(f"{case}, {threads} thread{'s' * (threads > 1)}")
        m = run_ours(self.o, model, data, targets, threads, self.folder, **options)
        for metric, unit in (("seconds_per_step", "s"), ("tokens_per_second", "tokens/s"), ("of_floor", "%"),
                             ("of_floor_best", "%"), ("peak_rss", "MiB"),
                             ("peak_anonymous", "MiB"), ("file", "MiB"), ("start", "s")):
            if metric in m:
                self.add(section, case, threads, metric, m[metric], unit)
        return m

    def step(self):
        for model, data, targets in self.cases():
            with self.judged():
                before = self.readings
                m = self.measure_ours(model, data, targets, self.o.threads, "step")
                self.read_ceilings()
                self.of_sustained(f"{model} {data} {targets}", m, before, self.readings)
                for line in m["profile"]["lines"]:
                    self.op_of_step(f"{model} {data} {targets}: {line['op']}", line, m["profile"])
            self.ours[model, data, targets] = m
            if not self.best_profile or (model, data, targets) == ("qwen2-0.5b", "dense512", "qv"):
                self.best_profile = f"{model}, {data}, {targets}", m["profile"], m["precision"]

    def of_sustained(self, case, m, *readings):
        """The floor at what registers alone kept up before and after, beside other tenants."""
        rates = [reading[self.roof_of(m["precision"]) + " sustained", self.o.threads] for reading in readings]
        if all(rates) and "of_floor" in m:
            kept_up = len(rates) / sum(1 / rate for rate in rates)
            self.add("step", case, self.o.threads, "sustained_ceiling", kept_up, "GFLOP/s")
            self.add("step", case, self.o.threads, "of_floor_sustained", m["of_floor"] * 1e-9 * m["profile"]["ceiling_flops"] / kept_up, "%")

    def op_of_step(self, case, line, profile):
        self.add("profile", case, self.o.threads, "share", 100 * line["seconds"] / profile["seconds"], "%")
        self.add("profile", case, self.o.threads, "time", 1e3 * line["seconds"] / profile["steps"], "ms")
        if line["bytes"] and line["seconds"]:
            self.add("profile", case, self.o.threads, "rate", line["flops"] / line["seconds"] / 1e9, "GFLOP/s")
            self.add("profile", case, self.o.threads, "traffic", line["bytes"] / line["seconds"] / 1e9, "GB/s")
            if profile["ceiling_flops"]:
                self.add("profile", case, self.o.threads, "of_ceiling", 100 * line["flops"] / line["seconds"] / profile["ceiling_flops"], "%")

    def peer(self):
        if not self.o.python:
            raise Missing("PYTHON names no interpreter with PyTorch")
        for model, data, targets in self.cases():
            case = f"{model} {data} {targets}"
            for _ in range(1 if self.o.quick else 2):  # a ratio is of neighbours in time; the better one is kept
                try:
                    with self.judged():
                        ours = self.measure_ours(model, data, targets, self.o.threads, "peer", plain=True)
                        say(f"{case}, PEFT")
                        self.compare(case, ours, run_peer(self.o, model, data, targets, self.folder))
                except Missing as why:
                    say(f"{case}: left out: {why}")
                    break

    def compare(self, case, ours, theirs):
        """Real tokens: what the peer pads with is its own affair."""
        threads = self.o.threads
        for what in ("tokens", "supervised"):
            mine, its = ours[what], theirs["real_tokens" if what == "tokens" else "supervised"]
            self.add("peer", case, threads, f"{what}_ours", mine, "")
            self.add("peer", case, threads, f"{what}_peft", its, "")
            if mine != its:
                say(f"{case}: {mine} {what} of ours against {its} of PEFT's: the rows are not cut alike")
        self.add("peer", case, threads, "peft_tokens_per_second", theirs["tokens_per_second"], "tokens/s")
        self.add("peer", case, threads, "times_peft", ours["tokens_per_second"] / theirs["tokens_per_second"], "x")
        self.add("peer", case, threads, "peft_peak_rss", theirs["peak_rss_mib"], "MiB")
        self.add("peer", case, threads, "peak_of_peft", 100 * ours["peak_rss"] / theirs["peak_rss_mib"], "%")
        self.add("peer", case, threads, "peft_start", theirs["start_seconds"], "s")

    def threads(self):
        if self.o.threads == 1:
            raise Missing("one thread is all there is")
        for model, data, targets in self.cases():
            if targets != self.o.targets[0] and not MODELS[model].own_data or data == "dense2048":
                continue
            with self.judged():
                self.take_turns(model, data, targets)

    def take_turns(self, model, data, targets):
        """One thread and all in turn, each step at its best: a program beside this one slows some of them. Turns whose cores were apart, before or
        after, are made up for by others and are a figure of their own: two threads exchange more than one does."""
        case = f"{model} {data} {targets}"
        wanted = 1 if self.o.quick else TURNS
        one, several = [], []  # steps; (handover, steps)
        together = []
        while len(together) < wanted and len(several) < 2 * wanted:
            if len(one) < wanted:
                one.append(self.measure_ours(model, data, targets, 1, "threads", plain=True)["step_seconds"])
            before = self.handover()
            steps = self.measure_ours(model, data, targets, self.o.threads, "threads", plain=True)["step_seconds"]
            several.append((min(before, self.handover()), steps))
            least = APART * self.ceiling["handover", self.o.threads]
            together = [steps for handover, steps in several if handover >= least]
        apart = [steps for handover, steps in several if handover < least]
        self.add("threads", case, self.o.threads, "turns", len(together), "")
        for metric, turns in (("of_single_thread_rate_times_threads", together), ("with_cores_apart", apart)):
            if turns:
                self.add("threads", case, self.o.threads, metric, 100 * sum(map(min, zip(*one))) / sum(map(min, zip(*turns))) / self.o.threads, "%")

    def memory(self):
        """The whole process against the file: as it likes, and with a quarter of the file beside it."""
        for model in self.o.model:
            if MODELS[model].own_data or "dense512" not in self.o.data:
                continue
            try:
                folder = ensure_model(self.o, model, say)
                file = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
                for case, limit in (("", None), (" in a quarter of the file", file // 4)):
                    say(f"{model}{case}")
                    m = run_ours(self.o, model, "dense512", "qv", self.o.threads, self.folder, plain=True, steps=2, max_memory=limit)
                    for metric, unit in (("peak_rss", "MiB"), ("peak_anonymous", "MiB"), ("file", "MiB"), ("seconds_per_step", "s")):
                        self.add("memory", model + case, self.o.threads, metric, m[metric], unit)
                    self.add("memory", model + case, self.o.threads, "anonymous_of_file", 100 * m["peak_anonymous"] * 2**20 / file, "%")
            except Missing as why:
                say(f"{model}: left out: {why}")

    def everything(self):
        # The optimizer is said as a share of a step; the ceilings are read all along, and the best of them reported.
        order = [name for name in SECTIONS if name != "optimizer"] + ["optimizer", "ceilings"]
        for name in order:
            if name not in self.o.only:
                continue
            say(f"-- {name}")
            try:
                if name in ("step", "peer", "threads"):  # judged case by case
                    getattr(self, name)()
                else:
                    with self.judged():
                        getattr(self, name)()
            except Missing as why:
                say(f"{name}: left out: {why}")


def main():
    options = parse()
    folder = Path(tempfile.mkdtemp(prefix="stlora-bench-"))
    run = Run(options, folder)
    try:
        run.everything()
    except KeyboardInterrupt:
        say("interrupted: what there is so far")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    run.results.write(options.csv)
    run.results.show(sys.stdout)
    say(f"every figure is in {options.csv}")
    if options.svg and run.best_profile:
        write_svg(options.svg, *run.best_profile, {what: rate for (what, threads), rate in run.ceiling.items() if threads == options.threads})
    elif options.svg:
        say("no step was measured: there is nothing to draw")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: {error.cmd[0]} ends with {error.returncode}:\n{error.stderr or ''}")
