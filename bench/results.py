"""The figures of a run: one row each, as CSV and as tables."""
import csv

FIELDS = ("section", "case", "threads", "metric", "value", "unit", "counted")


class Results:
    def __init__(self):
        self.rows = []

    def add(self, section, case, threads, metric, value, unit, counted):
        """Of two readings of the same thing the better one stays, more of a rate and less of a time or of bytes; but what counts before what
        does not."""
        row = dict(zip(FIELDS, (section, case, threads, metric, value, unit, counted)))
        for old in self.rows:
            if all(old[key] == row[key] for key in ("section", "case", "threads", "metric", "unit")):
                better = value < old["value"] if unit in ("s", "ms", "MiB") else value > old["value"]
                if counted > old["counted"] or counted == old["counted"] and better:
                    old.update(row)
                return
        self.rows.append(row)

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, FIELDS)
            table.writeheader()
            table.writerows({**row, "value": f"{row['value']:.6g}", "counted": "yes" if row["counted"] else "no"} for row in self.rows)

    def show(self, stream):
        """A table per section, a line per case: a column per metric. What does not count stands in brackets."""
        for section in dict.fromkeys(row["section"] for row in self.rows):
            rows = [row for row in self.rows if row["section"] == section]
            columns = list(dict.fromkeys((row["metric"], row["unit"]) for row in rows))
            print(f"\n## {section}\n\n| case | threads | " + " | ".join(f"{m.replace('_', ' ')}{', ' + u if u else ''}" for m, u in columns) + " |", file=stream)
            print("|---|---|" + "---|" * len(columns), file=stream)
            for case, threads in dict.fromkeys((row["case"], row["threads"]) for row in rows):
                cells = {(row["metric"], row["unit"]): row for row in rows if (row["case"], row["threads"]) == (case, threads)}
                shown = [self.cell(cells.get(column)) for column in columns]
                print(f"| {case} | {threads} | " + " | ".join(shown) + " |", file=stream)

    @staticmethod
    def cell(row):
        if not row:
            return ""
        value = row["value"]
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.1e}"
        return text if row["counted"] else f"({text})"
