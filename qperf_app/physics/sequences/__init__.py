"""Saturation-recovery sequences as data, their signal by Bloch simulation, and the way back to R1."""

from qperf_app.physics.sequences.sequence import READ_OUTS, ReadOut, Sequence
from qperf_app.physics.sequences.simulation import signal

__all__ = ["READ_OUTS", "ReadOut", "Sequence", "signal"]
