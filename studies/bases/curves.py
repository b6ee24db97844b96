"""Collects the loss curves of pre-trained bases, which are committed where the weights are not.

    python3 studies/bases/curves.py --bases bases/w64 bases/w128 ... --output studies/results/bases.csv
"""
import argparse
import csv
import json
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", nargs="+", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    o = parser.parse_args()
    with open(o.output, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["base", "width", "parameters", "step", "tokens", "train_loss", "held_out_loss"])
        for base in o.bases:
            facts = json.loads((base / "base.json").read_text(encoding="utf-8"))
            with open(base / "curve.csv", newline="", encoding="utf-8") as curve:
                for line in csv.DictReader(curve):
                    writer.writerow([base.name, facts["width"], facts["parameters"], *(line[key] for key in ("step", "tokens", "train_loss", "held_out_loss"))])


if __name__ == "__main__":
    main()
