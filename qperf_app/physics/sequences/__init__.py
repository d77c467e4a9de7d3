"""Saturation-recovery sequences as data, their signal by Bloch simulation, and the way back to R1."""

from qperf_app.physics.sequences.centre import excitations_to_centre
from qperf_app.physics.sequences.from_metadata import REQUIRED, sequence_of
from qperf_app.physics.sequences.readout import NamedReadOut, named_readout
from qperf_app.physics.sequences.sequence import READ_OUTS, ReadOut, Sequence
from qperf_app.physics.sequences.simulation import signal
from qperf_app.physics.sequences.table import Relaxation, SignalTable, relaxation_rate, signal_of_tissue, signal_table

__all__ = [
    "READ_OUTS",
    "REQUIRED",
    "NamedReadOut",
    "ReadOut",
    "Relaxation",
    "Sequence",
    "SignalTable",
    "excitations_to_centre",
    "named_readout",
    "relaxation_rate",
    "sequence_of",
    "signal",
    "signal_of_tissue",
    "signal_table",
]
