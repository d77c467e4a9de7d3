"""The methods kit: what several plugins do the same way, written once and open to any plugin.

Each module stands alone and is imported by its own name, ``from qperf_app.methods import noise``; this one imports none
of them.
"""
