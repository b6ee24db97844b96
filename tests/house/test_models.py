"""docs/MODELS.md names every family of src/formats/hf_family.c, and for each of them the keys that the code reads and those of no consequence: no more and
no fewer; and every family has its row in src/model/family.c."""
import os
import re
import sys
from pathlib import Path

source = Path(os.environ["STLORA_SOURCE"])
code = (source / "src/formats/hf_family.c").read_text(encoding="utf-8")
page = (source / "docs/MODELS.md").read_text(encoding="utf-8")


def quoted(text):
    return re.findall(r'"([^"]+)"', text)


def coded(text):
    return re.findall(r"`([^`]+)`", text)


def main():
    wrong = []
    lists = {name: quoted(body) for name, body in re.findall(r"static const char \*const (\w+)\[\] = \{(.*?)\};", code, re.S)}
    families = re.findall(r'\.name = "(\w+)",(.*?)\.defaults', code, re.S)
    rows = {row[0]: row for row in (tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page.splitlines() if line.startswith("| "))
            if len(row) == 3}
    models = set(re.findall(r'\.model_type = "(\w+)"', (source / "src/model/family.c").read_text(encoding="utf-8")))
    if models != {name for name, _ in families}:
        wrong.append(f"src/model/family.c has {sorted(models)}")
    for name, body in families:
        options = lists[re.search(r"\.options = (\w+)", body).group(1)]
        idle = lists[re.search(r"\.idle = (\w+)", body).group(1)]
        row = rows.get(name)
        if not row:
            wrong.append(f"{name} has no row of keys")
        elif (sorted(coded(row[1])), sorted(coded(row[2]))) != (sorted(options), sorted(idle)):
            wrong.append(f"{name}: the code reads {options} and ignores {idle}")
        if not re.search(rf"^\| {name} \|.*\|.*\|.*\|.*\|", page, re.M):
            wrong.append(f"{name} is not described")
    everywhere = set(coded(page.split("Of no consequence for any family:")[1].split("Within")[0]))
    if everywhere != set(lists["idle_keys"]):
        wrong.append(f"keys of no consequence: {sorted(everywhere ^ set(lists['idle_keys']))}")
    for key in lists["common_keys"] + lists["rotary_keys"]:
        if f"`{key}`" not in page:
            wrong.append(f"{key} is not on the page")
    for line in wrong:
        print(f"docs/MODELS.md: {line}")
    print(f"{len(families)} families, {len(wrong)} wrong")
    return 1 if wrong or not families else 0


if __name__ == "__main__":
    sys.exit(main())
