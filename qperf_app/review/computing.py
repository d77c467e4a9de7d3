"""Computing again: requests to the process that does it, and what it tells, for whoever listens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from threading import Lock, Thread
from typing import Any

from qperf_app.review.study import Study

#: Seconds that the process has to say in OUT_DIR that it was interrupted.
_GOODBYE_SECONDS = 5.0


class Computing:
    """One participant is computed at a time, in the order in which they were asked for."""

    def __init__(self, study: Study, nprocs: int) -> None:
        folders = {name: str(path) for name, path in vars(study).items()}
        self._command = [sys.executable, "-m", "qperf_app.review.worker", json.dumps(folders), str(nprocs)]
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._jobs: dict[int, dict[str, Any]] = {}
        self._changes = 0

    def start(self) -> None:
        """Start the process, so that it is ready when it is asked."""
        with self._lock:
            self._running()

    def request(self, participant: str) -> int:
        """Ask for a participant; returns the number of the job."""
        with self._lock:
            number = len(self._jobs) + 1
            self._note({"job": number, "participant": participant, "state": "waiting"})
            process = self._running()
            assert process.stdin is not None
            process.stdin.write(json.dumps({"job": number, "participant": participant}) + "\n")
            process.stdin.flush()
            return number

    def news(self, since: int) -> tuple[int, list[dict[str, Any]]]:
        """Jobs that have changed since, each as it stands, and what to ask with next."""
        with self._lock:
            return self._changes, [dict(job) for job in self._jobs.values() if job["change"] > since]

    def stop(self) -> None:
        """End the process, and what it is computing: the next run goes on from there."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_GOODBYE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
            Thread(target=self._listen, args=(self._process,), daemon=True).start()
        return self._process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if "job" in told:
                with self._lock:
                    self._note(told)
        code = process.wait()
        with self._lock:
            for job in list(self._jobs.values()):
                if job["state"] in ("waiting", "running"):
                    self._note({**job, "state": "failed", "reason": f"the process that computes ended ({code})"})

    def _note(self, told: Mapping[str, Any]) -> None:
        self._changes += 1
        number = int(told["job"])
        self._jobs[number] = {**self._jobs.get(number, {}), **told, "change": self._changes}
