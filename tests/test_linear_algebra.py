"""A step runs with one thread for linear algebra, whoever has loaded the library before; the caller keeps its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_CODE = """
import ctypes, json, os, sys
import numpy
from qperf_app.workflow.workers import OwnProcesses, ThisProcess

def threads():
    paths = {line.split()[-1] for line in open("/proc/self/maps") if "openblas" in line}
    names = ("scipy_openblas_get_num_threads64_", "scipy_openblas_get_num_threads", "openblas_get_num_threads")
    found = [(ctypes.CDLL(path), name) for path in sorted(paths) for name in names]
    return [int(library[name]()) for library, name in found if hasattr(library, name)]

class Node:
    def run(self):
        import scipy.linalg
        open(sys.argv[1], "a").write(json.dumps([threads(), os.environ.get("OPENBLAS_NUM_THREADS")]) + "\\n")

before = [threads(), os.environ.get("OPENBLAS_NUM_THREADS")]
for workers in (OwnProcesses(1), ThisProcess()):
    workers.submit(Node(), "any").result()
    workers.close()
after = [threads()[:1], os.environ.get("OPENBLAS_NUM_THREADS")]
print(json.dumps([before, after]))
"""


@pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="has one thread as it is")
def test_a_step_has_one_thread_for_linear_algebra_and_the_caller_keeps_his(tmp_path) -> None:
    script, told = tmp_path / "program.py", tmp_path / "told"
    script.write_text(_CODE)
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    output = subprocess.run(
        [sys.executable, str(script), str(told)], env=environment, capture_output=True, text=True, check=True
    ).stdout
    before, after = json.loads(output)
    if before[0] == []:
        pytest.skip("NumPy has another library for linear algebra")
    assert before[0][0] > 1 and before == after
    assert told.read_text().splitlines() == ['[[1, 1], "1"]'] * 2
