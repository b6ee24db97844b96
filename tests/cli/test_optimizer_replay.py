"""The example program on every recorded run of the released optimizer: another trainer's view of the public API."""
import json
import os
import struct
import subprocess
import unittest
from pathlib import Path

REPLAY = Path(os.environ["STLORA_BUILD"]) / "examples" / "optimizer_replay"
CASES = Path(os.environ["STLORA_SHARED"]) / "golden" / "optimizer"


def recorded(path):
    """The settings in the file's metadata."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        return json.loads(json.loads(file.read(size))["__metadata__"]["case"])


class Replay(unittest.TestCase):
    @unittest.skipUnless(CASES.is_dir(), f"{CASES} is not here")
    def test_every_case(self):
        paths = sorted(CASES.glob("*.safetensors"))
        self.assertTrue(paths)
        for path in paths:
            done = subprocess.run([REPLAY, path], stdout=subprocess.PIPE, check=True)
            told, case = json.loads(done.stdout), recorded(path)
            print(f"{told['case']}: max_error {told['max_error']:.3g}")
            self.assertLessEqual(told["max_error"], 1e-6, path)
            self.assertEqual(told["stop_step"], case["stop_step"], path)

    def test_a_file_that_is_none(self):
        done = subprocess.run([REPLAY, __file__], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stdout), (3, b""))
        self.assertEqual(len(done.stderr.decode().splitlines()), 1)


if __name__ == "__main__":
    unittest.main()
