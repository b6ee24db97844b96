"""Does a base answer questions better than chance, before any training? Only then could a comparison by accuracy say something.

    python3 studies/choice_study.py --build build --shared ../shared --bases bases/w64 bases/w128 ... --output-dir choice --output studies/results/choice.csv

ARC-Easy and OpenbookQA, the first ROWS test questions of each. The published wording lists the answers in the question; models of this size have no use
for that, so it is taken apart: the prompt is the question, the choices are the texts of its answers, and the base's log-probability chooses, as it is and per byte of the choice.
"""
import argparse
import csv
import json
import re
import subprocess
from pathlib import Path

ROWS = 500
SETS = {"ARC-Easy": "arc_easy", "OpenbookQA": "openbookqa"}
WORDING = re.compile(r"Please choose the correct answer to the question: (.*?)\s*\n\n(Answer1: .*?)\n\nAnswer format:", re.DOTALL)


def rows_of(path):
    for row in json.loads(path.read_text(encoding="utf-8")):
        found = WORDING.match(row["instruction"])
        choices = [" " + text.strip() for text in re.split(r"Answer\d: ", found[2])[1:]] if found else []
        label = int(row["answer"].removeprefix("answer")) - 1
        if 0 <= label < len(choices) and all(len(choice) > 1 for choice in choices):
            yield {"prompt": f"Question: {found[1]}\nAnswer:", "choices": choices, "label": label}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("build", "shared", "output-dir", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--bases", nargs="+", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0)
    o = parser.parse_args()
    o.output_dir.mkdir(parents=True, exist_ok=True)
    with open(o.output, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["base", "set", "rows", "accuracy", "accuracy_stderr", "accuracy_norm", "accuracy_norm_stderr", "chance"])
        for task, folder in SETS.items():
            rows = [row for row, _ in zip(rows_of(o.shared / "data" / "datasets" / folder / "test.json"), range(ROWS))]
            data = o.output_dir / f"{folder}.jsonl"
            data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            chance = sum(1 / len(row["choices"]) for row in rows) / len(rows)
            for base in o.bases:
                words = [o.build / "stable-lora", "eval", "--model", base, "--data", data, "--task", "choice", "--json", "--threads", o.threads]
                done = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                told = json.loads(done.stdout)
                writer.writerow(["embedded" if base.name == "model" else base.name, task, told["rows"], *(f"{told[key]:.5f}" for key in ("accuracy", "accuracy_stderr", "accuracy_norm", "accuracy_norm_stderr")),
                                 f"{chance:.5f}"])
                file.flush()


if __name__ == "__main__":
    main()
