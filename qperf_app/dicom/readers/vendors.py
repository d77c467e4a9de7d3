"""Facts about vendors that need no code."""

from __future__ import annotations

from collections.abc import Mapping

#: What ``Manufacturer`` begins with, and the name that goes into the dataset.
VENDORS: Mapping[str, str] = {
    "SIEMENS": "Siemens",
    "GE ": "GE",
    "GE MEDICAL": "GE",
    "GENERAL ELECTRIC": "GE",
    "PHILIPS": "Philips",
    "UIH": "United Imaging",
    "UNITED IMAGING": "United Imaging",
    "SHANGHAI UNITED IMAGING": "United Imaging",
    "CANON": "Canon",
    "TOSHIBA": "Canon",
}

#: Models that may be named: a model's field is free text, so that only these are taken from it.
MODELS = (
    "Aera", "Altea", "Amira", "Avanto", "Cima", "Espree", "Lumina", "MAGNETOM Flow", "Prisma", "Sempra", "Skyra",
    "Sola", "Sonata", "Spectra", "Symphony", "Trio", "Verio", "Vida", "Achieva", "Ambition", "Elition", "Evolution",
    "Ingenia", "Intera", "Panorama", "Discovery MR450", "Discovery MR750", "Optima MR360", "Optima MR450",
    "Signa Architect", "Signa Artist", "Signa Excite", "Signa Explorer", "Signa HDx", "Signa Hero", "Signa PET/MR",
    "Signa Pioneer", "Signa Premier", "Signa Voyager",
    "uMR 570", "uMR 680", "uMR 770", "uMR 780", "uMR 790", "uMR 880", "uMR Omega",
    "Galan", "Orian", "Titan", "Vantage",
)  # fmt: skip


def vendor_of(manufacturer: str) -> str:
    """Name of the vendor; empty where the field holds something else."""
    found = f"{manufacturer.upper()} "
    return next((name for start, name in VENDORS.items() if found.startswith(start)), "")
