"""libstlora.so exports exactly the functions that include/stlora declares, and nothing that is not there."""
import os
import re
import subprocess
import sys
from pathlib import Path

build, source = Path(os.environ["STLORA_BUILD"]), Path(os.environ["STLORA_SOURCE"])

declared = set()
for header in (source / "include" / "stlora").glob("*.h"):
    text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.S)
    declared |= set(re.findall(r"^STLORA_API\b[^;(]*?\b(\w+)\s*\(", text, re.M))

lines = subprocess.run(["nm", "-D", "--defined-only", build / "libstlora.so"], check=True, text=True,
                       stdout=subprocess.PIPE).stdout.splitlines()
# A sanitizer's own marks start with two underscores.
exported = {line.split()[2].split("@")[0] for line in lines if not line.split()[2].startswith("__")}
exported -= {"_init", "_fini"}

wrong = [f"declared but not exported: {name}" for name in sorted(declared - exported)]
wrong += [f"exported but not declared: {name}" for name in sorted(exported - declared)]
print("\n".join(wrong + [f"{len(declared)} functions declared, {len(exported)} exported"]))
sys.exit(1 if wrong or not declared else 0)
