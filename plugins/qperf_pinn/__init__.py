"""Built-in kinetics plugin ``pinn``: a network fitted to one participant's own curves through the model's equations."""

from qperf_app.plugins import hookimpl
from qperf_pinn.plugin import PhysicsInformedFit

__all__ = ["PhysicsInformedFit", "qperf_kinetics"]


@hookimpl
def qperf_kinetics() -> tuple[type, ...]:
    """Give the host the class."""
    return (PhysicsInformedFit,)
