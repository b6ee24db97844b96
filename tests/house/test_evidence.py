"""docs/EVIDENCE.md and its plots are what studies/evidence.py makes of studies/results."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ["STLORA_SOURCE"])


class Evidence(unittest.TestCase):
    def test_page_and_plots(self):
        with tempfile.TemporaryDirectory(prefix="stlora-evidence-") as scratch:
            page, plots = Path(scratch) / "EVIDENCE.md", Path(scratch) / "plots"
            shutil.copyfile(SOURCE / "docs" / "EVIDENCE.md", page)
            subprocess.run([sys.executable, SOURCE / "studies" / "evidence.py", "--page", page, "--plots", plots], check=True)
            self.assertEqual(page.read_text(encoding="utf-8"), (SOURCE / "docs" / "EVIDENCE.md").read_text(encoding="utf-8"))
            names = sorted(path.name for path in plots.iterdir())
            self.assertEqual(names, sorted(path.name for path in (SOURCE / "docs" / "evidence").iterdir()))
            for name in names:
                self.assertEqual((plots / name).read_bytes(), (SOURCE / "docs" / "evidence" / name).read_bytes(), name)
                self.assertIn(f"evidence/{name}", page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
