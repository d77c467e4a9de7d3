"""The fields that import reads, and no others.

What is not listed here never reaches memory, apart from a vendor's private elements that its reader lists.
"""

from __future__ import annotations

#: Which images belong together, and when; compared and counted, never written.
IDENTITY = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "PatientID", "PatientName",
    "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesNumber", "InstanceNumber",
    "StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "ContentDate",
)  # fmt: skip

#: Free text in which words such as "stress" are looked for, and codes that say the same; never written.
HINTS = (
    "SeriesDescription", "ProtocolName", "ImageComments", "InterventionDrugInformationSequence",
    "AcquisitionContextSequence", "ContrastBolusAgent", "ContrastBolusAgentSequence",
    "ContrastAdministrationProfileSequence", "Manufacturer", "ManufacturerModelName", "SequenceName",
    "PulseSequenceName",
)  # fmt: skip

#: What the image is and where it lies.
IMAGE = (
    "Modality", "ImageType", "BurnedInAnnotation", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "PixelRepresentation", "NumberOfFrames", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "ComplexImageComponent",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip

#: Fields that may be clocks, each with the factor to s; a factor of None is a time of day or a date-time.
CLOCKS: dict[str, float | None] = {
    "FrameAcquisitionDateTime": None,
    "FrameReferenceDateTime": None,
    "AcquisitionDateTime": None,
    "AcquisitionTime": None,
    "TriggerTime": 1e-3,
    "ActualCardiacTriggerDelayTime": 1e-3,
    "NominalCardiacTriggerDelayTime": 1e-3,
    "TemporalPositionTimeOffset": 1.0,
    "ContentTime": None,
}

#: Technical numbers that a series' images share.
NUMBERS = (
    "MagneticFieldStrength", "ImagingFrequency", "TransmitterFrequency", "SliceThickness", "SpacingBetweenSlices",
    "RepetitionTime", "EchoTrainLength", "NumberOfPhaseEncodingSteps", "MRAcquisitionPhaseEncodingStepsInPlane",
    "PercentSampling", "PercentPhaseFieldOfView", "PixelBandwidth", "ContrastBolusVolume", "ContrastBolusTotalDose",
    "ContrastBolusIngredientConcentration", "TemporalResolution", "AcquisitionMatrix",
)  # fmt: skip

#: Technical numbers that may differ from image to image.
FRAME_NUMBERS = (
    "FlipAngle", "EchoTime", "EffectiveEchoTime", "InversionTime", "InversionTimes", "NominalInterval",
    "RRIntervalTimeNominal", "HeartRate", "TemporalPositionIdentifier", "TemporalPositionIndex",
)  # fmt: skip

#: Technical words of closed lists.
CODES = (
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "ContrastBolusIngredient",
    "EchoPulseSequence", "SteadyStatePulseSequence", "EchoPlanarPulseSequence", "SaturationRecovery",
    "InversionRecovery", "Spoiling", "AcquisitionContrast",
)  # fmt: skip

#: All of them.
READ = (*IDENTITY, *HINTS, *IMAGE, *CLOCKS, *NUMBERS, *FRAME_NUMBERS, *CODES)
