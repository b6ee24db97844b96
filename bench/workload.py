"""What is trained in the benches: models, rows, flags, ours and PEFT's alike; and one run of either, with its time and its memory."""
import csv
import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections import namedtuple
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
MIB = 2**20

# precision; maps as names for both; tokens that a row may have; data of its own (small models); how make_model.py calls it
Model = namedtuple("Model", "precision qv all_linear longest own_data folder")
LLAMA_LINEAR = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
MODELS = {
    "qwen2-0.5b": Model("bf16", "q_proj,v_proj", LLAMA_LINEAR, 32768, (), None),
    "smollm2-135m": Model("bf16", "q_proj,v_proj", LLAMA_LINEAR, 8192, (), None),
    "gpt2-124m": Model("fp32", "c_attn", "c_attn,c_proj,c_fc", 1024, (), None),
    "llama3.2-1b": Model("bf16", "q_proj,v_proj", LLAMA_LINEAR, 131072, (), None),
    "demo": Model("fp32", "q_proj,v_proj", LLAMA_LINEAR, 1024, ("demo-rows",), SOURCE / "demo" / "model"),
    "stories260K": Model("fp32", "q_proj,v_proj", LLAMA_LINEAR, 512, ("dense128",), None),
}
TARGETS = ("qv", "all-linear")
DATA = ("dense512", "dense2048", "arc-easy")
BATCH = {"dense512": 1, "dense2048": 1, "arc-easy": 4, "dense128": 4, "demo-rows": 8}
STEPS = {"dense512": 8, "dense2048": 4, "arc-easy": 8, "dense128": 100, "demo-rows": 100}  # counted ones: one more warms up


class Missing(Exception):
    """Something that this machine does not have; what needs it is left out."""


def steps_of(o, data):
    return min(STEPS[data], 2) if o.quick else STEPS[data]


def run_csv(*command):
    """The rows that a bench prints."""
    done = subprocess.run([str(word) for word in command], check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return list(csv.DictReader(done.stdout.splitlines()))


# ---- models and rows ----

def dense_length(data):
    return int(data[5:]) if data.startswith("dense") else 0


def fits(model, data):
    return dense_length(data) <= MODELS[model].longest


def model_folder(o, model):
    if model == "stories260K":
        return o.shared / "data" / "models" / "stories260K"
    return MODELS[model].folder or o.models / model


def ensure_model(o, model, say):
    """Its folder; a model of random weights is made where PYTHON has PyTorch."""
    folder = model_folder(o, model)
    if (folder / "config.json").exists():
        return folder
    if model == "stories260K" or not o.python:
        raise Missing(f"{folder} holds no model" + ("" if model == "stories260K" else ", and PYTHON names no interpreter to make one"))
    maker = o.shared / "peers" / "make_model.py"
    if not maker.exists():
        raise Missing(f"{maker} is not there to make {folder}")
    say(f"making {folder}")
    o.models.mkdir(parents=True, exist_ok=True)
    half = folder.with_name(f".{model}.part")
    shutil.rmtree(half, ignore_errors=True)
    dtype = "float32" if MODELS[model].precision == "fp32" else "bfloat16"
    made = subprocess.run([o.python, str(maker), model, str(half), "--dtype", dtype], text=True, capture_output=True, check=False)
    if made.returncode:
        raise Missing(f"make_model.py: {(made.stderr.strip().splitlines() or ['failed'])[-1]}")
    half.rename(folder)
    return folder


def arc_rows(o):
    """Prompt and completion in the words in which peft_train.py has them, so that both sides read one file."""
    path = o.shared / "data" / "datasets" / "arc_easy" / "train.json"
    if not path.exists():
        raise Missing(f"{path} is not there")
    for row in json.loads(path.read_text(encoding="utf-8")):
        prompt = row["instruction"] + ("\n" + row["input"] if row.get("input") else "") + "\n"
        yield {"prompt": prompt, "completion": row["output"]}


def dense_rows(length, vocabulary):
    draw = random.Random(0)
    while True:
        yield {"input_ids": [draw.randrange(10, vocabulary - 10) for _ in range(length)]}


def rows_file(o, model, data, folder):
    """A file of exactly the rows that all steps take, in order."""
    path = folder / f"{model}-{data}.jsonl"
    if path.exists():
        return path
    if data == "demo-rows":
        lines = (SOURCE / "demo" / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
        rows = map(json.loads, lines)
    elif data == "arc-easy":
        rows = arc_rows(o)
    else:
        config = json.loads((model_folder(o, model) / "config.json").read_text(encoding="utf-8"))
        rows = dense_rows(dense_length(data), config["vocab_size"])
    add_rows(path, rows, (steps_of(o, data) + 1) * BATCH[data])
    return path


def add_rows(path, rows, count):
    with open(path, "w", encoding="utf-8") as file:
        for _, row in zip(range(count), rows):
            file.write(json.dumps(row) + "\n")


# ---- runs ----

class Watch(threading.Thread):
    """Samples what a process holds beside its files, the most of it."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path, self.most, self.over = Path(f"/proc/{pid}/status"), 0, threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            try:
                text = self.path.read_text(encoding="ascii")
            except OSError:
                return
            line = next((line for line in text.splitlines() if line.startswith("RssAnon:")), None)
            if line:
                self.most = max(self.most, int(line.split()[1]) / 1024)


def watched(command, output):
    """Runs; {"peak_rss", "peak_anonymous"} in MiB, its standard output in the file `output`."""
    with open(output, "w", encoding="utf-8") as out, open(f"{output}.err", "w", encoding="utf-8") as err:
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=err)
        watch = Watch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.over.set()
        watch.join()
    if process.returncode:
        words = Path(f"{output}.err").read_text(encoding="utf-8").strip().splitlines() or ["no word"]
        raise Missing(f"{Path(command[0]).name} ends with {process.returncode}: {words[-1]}")
    return {"peak_rss": usage.ru_maxrss / 1024, "peak_anonymous": watch.most}


def targets_of(model, targets):
    return MODELS[model].qv if targets == "qv" else MODELS[model].all_linear


def run_ours(o, model, data, targets, threads, folder, plain=False, steps=None, max_memory=None):
    """A run of the command: medians and sums over all steps but the first. plain: without --profile."""
    m = MODELS[model]
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = [o.build / "stable-lora", "train", "--model", model_folder(o, model), "--data", rows_file(o, model, data, folder),
               "--precision", m.precision, "--threads", threads, "--batch-size", BATCH[data], "--r", 8, "--target-modules",
               targets_of(model, targets), "--max-length", max(dense_length(data), 512), "--no-shuffle", "--save-steps", 0]
    if max_memory:
        command += ["--max-memory", max_memory]
    begin = time.monotonic()
    subprocess.run([str(word) for word in command + ["--dry-run"]], check=False, capture_output=True)
    start = time.monotonic() - begin
    command += ["--max-steps", (steps or steps_of(o, data)) + 1, "--output-dir", run, "--json"] + ([] if plain else ["--profile"])
    result = watched(command, folder / "ours.json")
    answer = json.loads((folder / "ours.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()][1:]
    seconds = [line["seconds"] for line in lines]
    result.update(precision=m.precision, start=start, step_seconds=seconds, seconds_per_step=sorted(seconds)[len(seconds) // 2],
                  tokens=sum(line["tokens"] for line in lines), supervised=sum(line["supervised_tokens"] for line in lines))
    result["tokens_per_second"] = result["tokens"] / sum(seconds)
    result["file"] = sum(path.stat().st_size for path in model_folder(o, model).glob("*.safetensors")) / MIB
    if not plain:
        profile = result["profile"] = answer["profile"]
        if profile["ceiling_flops"]:
            floor = profile["needed_flops"] / profile["ceiling_flops"]
            result["of_floor"] = 100 * floor / profile["seconds"]
            if dense_length(data):  # all steps are alike
                result["of_floor_best"] = 100 * floor / profile["steps"] / min(seconds)
    return result


def run_peer(o, model, data, targets, folder):
    """The same rows through peft_train.py; its own numbers."""
    peer = o.shared / "peers" / "peft_train.py"
    if not peer.exists():
        raise Missing(f"{peer} is not there")
    precision = "float32" if MODELS[model].precision == "fp32" else "bfloat16"
    command = [o.python, peer, "--model", model_folder(o, model), "--steps", steps_of(o, data), "--batch-size", BATCH[data], "--dtype",
               precision, "--r", 8, "--targets", targets_of(model, targets), "--threads", o.threads, "--json"]
    if dense_length(data):
        command += ["--dense", dense_length(data)]
    else:
        command += ["--data", rows_file(o, model, data, folder), "--max-length", 512, "--completion-only"]
    watched(command, folder / "peer.json")
    return json.loads((folder / "peer.json").read_text(encoding="utf-8").splitlines()[-1])
