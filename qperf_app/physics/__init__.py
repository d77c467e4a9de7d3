"""Tracer-kinetic models, signal and contrast equations, input-function features: pure functions with units."""
