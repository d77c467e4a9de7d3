"""The built-in plugins pass the suite that a plugin author runs."""

from __future__ import annotations

from typing import ClassVar

import pytest

from qperf_app.testing import KineticsConformance, PluginConformance
from qperf_motion.elastix import available


class TestNoMotionCorrection(PluginConformance):
    step, name = "motion-correction", "none"


class TestChained(PluginConformance):
    step, name = "motion-correction", "chained"


class TestProgressive(PluginConformance):
    step, name = "motion-correction", "progressive"


@pytest.mark.skipif(not available(), reason="elastix is not installed (pip install 'qperf-app[elastix]')")
class TestElastix(PluginConformance):
    step, name = "motion-correction", "elastix"
    options: ClassVar = {"iterations": 20}


class TestKMeans(PluginConformance):
    step, name = "blood-pool", "kmeans"


class TestResUNetBloodPool(PluginConformance):
    step, name = "blood-pool", "resunet"


class TestSaturationRecovery(PluginConformance):
    step, name = "concentration", "sr-flash"


class TestLinear(PluginConformance):
    step, name = "concentration", "linear"


class TestIdentity(PluginConformance):
    step, name = "concentration", "identity"
    concentration_input = True


class TestClassical(PluginConformance):
    step, name = "myocardium", "classical"


class TestResUNetMyocardium(PluginConformance):
    step, name = "myocardium", "resunet"


class TestFermi(KineticsConformance):
    name = "fermi"


class TestNonlinearLeastSquares(KineticsConformance):
    name = "nlls"


class TestPosterior(KineticsConformance):
    """One pass: whether the chains of every voxel converge is a benchmark's question."""

    name = "hmc"
    options: ClassVar = {"passes": 1}


class TestConvolutional(KineticsConformance):
    name = "cnn"


class TestPhysicsInformed(KineticsConformance):
    """A short fit: how good a long one gets is a benchmark's question."""

    name = "pinn"
    options: ClassVar = {"steps": 60}


class TestSaliency(PluginConformance):
    step, name = "report-section", "saliency"


def test_every_built_in_plugin_is_here() -> None:
    from qperf_app.plugins.manager import OWN_DISTRIBUTION, load_plugins

    suites = [cls for cls in globals().values() if isinstance(cls, type) and issubclass(cls, PluginConformance)]
    tested = {(cls.step, cls.name) for cls in suites if hasattr(cls, "name")}
    installed = {key for key, plugin in load_plugins().plugins.items() if plugin.distribution == OWN_DISTRIBUTION}
    assert installed == tested
