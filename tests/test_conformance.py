"""The built-in plugins pass the suite that a plugin author runs."""

from __future__ import annotations

from typing import ClassVar

import pytest

from qperf_app.testing import (
    BloodPoolConformance,
    ConcentrationConformance,
    KineticsConformance,
    MotionCorrectionConformance,
    MyocardiumConformance,
    PluginConformance,
    ReportSectionConformance,
    SpillOverConformance,
)
from qperf_motion.elastix import available


class TestNoMotionCorrection(MotionCorrectionConformance):
    name = "none"
    expected_failures: ClassVar = dict.fromkeys(
        (
            "test_undoes_a_shift_of_whole_voxels",
            "test_undoes_a_shift_of_parts_of_a_voxel",
            "test_frames_reported_as_corrected_are",
        ),
        "for series that are still or corrected already: it moves nothing",
    )


class TestChained(MotionCorrectionConformance):
    name = "chained"


class TestProgressive(MotionCorrectionConformance):
    name = "progressive"


@pytest.mark.skipif(not available(), reason="elastix is not installed (pip install 'qperf-app[elastix]')")
class TestElastix(MotionCorrectionConformance):
    name = "elastix"
    options: ClassVar = {"iterations": 20}


class TestKMeans(BloodPoolConformance):
    name = "kmeans"


class TestResUNetBloodPool(BloodPoolConformance):
    name = "resunet"


class TestEnsembleBloodPool(BloodPoolConformance):
    name = "ensemble"


class TestTwoPool(SpillOverConformance):
    name = "two-pool"


class TestNoSpillOver(SpillOverConformance):
    name = "none"
    expected_failures: ClassVar = dict.fromkeys(
        ("test_finds_the_fractions_of_a_mixture", "test_takes_blood_out_of_a_mixture"), "it looks for no blood"
    )


class TestSaturationRecovery(ConcentrationConformance):
    name = "sr-flash"


class TestBalanced(ConcentrationConformance):
    name = "sr-bssfp"
    readout: ClassVar = "bSSFP"


class TestEchoPlanar(ConcentrationConformance):
    name = "sr-epi"
    readout: ClassVar = "EPI"


class TestLinear(ConcentrationConformance):
    name = "linear"
    expected_failures: ClassVar = {
        "test_blood_and_myocardium_share_a_factor": "the signal of blood saturates at the example's dose, and relative "
        "enhancement with it; the documentation says that flow is then too high"
    }


class TestIdentity(ConcentrationConformance):
    name = "identity"
    concentration_input: ClassVar = True


class TestClassical(MyocardiumConformance):
    name = "classical"


class TestResUNetMyocardium(MyocardiumConformance):
    name = "resunet"


class TestEnsembleMyocardium(MyocardiumConformance):
    name = "ensemble"


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
    expected_failures: ClassVar = {
        "test_chunks_of_voxels_do_not_matter": "the network is taught on all curves of the scan together"
    }


class TestSaliency(ReportSectionConformance):
    name = "saliency"


def test_every_built_in_plugin_is_here() -> None:
    from qperf_app.plugins.manager import OWN_DISTRIBUTION, load_plugins

    suites = [
        cls for cls in globals().values() if isinstance(cls, type) and issubclass(cls, PluginConformance) and cls.name
    ]
    tested = {(cls.step, cls.name) for cls in suites}
    installed = {key for key, plugin in load_plugins().plugins.items() if plugin.distribution == OWN_DISTRIBUTION}
    assert installed == tested
