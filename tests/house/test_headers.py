"""Every public header compiles alone, first and only, as C11 and as C++17, without a warning."""
import os
import subprocess
import sys
from pathlib import Path

source, compiler = Path(os.environ["STLORA_SOURCE"]), os.environ["CC"]
languages = {"C11": ["-x", "c", "-std=c11"], "C++17": ["-x", "c++", "-std=c++17"]}
warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]


def accepts(language, text):
    return subprocess.run([compiler, *languages[language], *warnings, "-I", source / "include", "-"],
                          input=text, text=True).returncode == 0


headers = sorted(path.name for path in (source / "include" / "stlora").glob("*.h"))
wrong = 0
for language in languages:
    if not accepts(language, "int main() { return 0; }\n"):
        print(f"{compiler} compiles no {language} here")
        wrong += 1
        continue
    for header in headers:
        once = f'#include "stlora/{header}"\n'
        if not accepts(language, once + once + "int main(void) { return 0; }\n"):
            print(f"stlora/{header} does not compile alone as {language}")
            wrong += 1
print(f"{len(headers)} headers in {len(languages)} languages, {wrong} wrong")
sys.exit(1 if wrong or not headers else 0)
