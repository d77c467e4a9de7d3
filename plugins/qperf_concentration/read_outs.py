"""The saturation-recovery read-outs that are converted."""

from __future__ import annotations

from qperf_concentration.saturation_recovery import SaturationRecovery

_DUAL_SEQUENCE = "Kellman P, et al. J Cardiovasc Magn Reson 2017;19:43. doi:10.1186/s12968-017-0355-5"


class SaturationRecoveryFlash(SaturationRecovery):
    """Spoiled gradient echo: the closed equation, or extended phase graphs where the RF spoiling is given."""

    name = "sr-flash"
    version = "1.0"
    summary = "Inverts the saturation-recovery FLASH signal equation, with proton-density reference where there is one."
    citations = ("Cernicanu A, Axel L. Acad Radiol 2006;13:686-693.", _DUAL_SEQUENCE)
    readout = "FLASH"


class SaturationRecoveryBssfp(SaturationRecovery):
    """Balanced steady-state free precession on resonance, simulated excitation by excitation."""

    name = "sr-bssfp"
    version = "1.0"
    summary = "Inverts the simulated signal of saturation-recovery bSSFP, with proton density where there is some."
    citations = ("Hargreaves BA, et al. Magn Reson Med 2001;46:149-158. doi:10.1002/mrm.1170", _DUAL_SEQUENCE)
    readout = "bSSFP"


class SaturationRecoveryEpi(SaturationRecovery):
    """Hybrid echo-planar read-out: spoiled excitations whose echo at the centre of k-space decays by R2*."""

    name = "sr-epi"
    version = "1.0"
    summary = "Inverts the signal of saturation-recovery hybrid EPI, with proton-density reference where there is one."
    citations = ("Cernicanu A, Axel L. Acad Radiol 2006;13:686-693.", _DUAL_SEQUENCE)
    requires = (*SaturationRecovery.requires, "EchoTime")
    readout = "EPI"
