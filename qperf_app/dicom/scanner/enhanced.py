"""Several images in a file: Enhanced MR Image Storage, with the times in the functional groups of the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage

from qperf_app.dicom.scanner.acquisition import Shot, StoredSeries
from qperf_app.dicom.scanner.clock import STUDY_START, date_time
from qperf_app.dicom.scanner.headers import (
    Study,
    decimal,
    decimals,
    new_file,
    set_fields,
    set_pixels,
    stored_pixels,
)
from qperf_app.dicom.scanner.manners import Scaling, shot_length

#: Gyromagnetic ratio of the proton, MHz/T.
_GYROMAGNETIC = 42.577478518
_STACK = "1"


def enhanced_image(study: Study, series: StoredSeries, shots: Sequence[Shot], instance: int) -> Dataset:
    """Some images of a series as one dataset, in the order given."""
    manner, scaling = study.manner, study.scaling(series)
    dataset = new_file(study, series, EnhancedMRImageStorage, instance)
    first = min(shots, key=lambda shot: shot.time)
    set_fields(dataset, manner.image(series, first, STUDY_START))
    kind = dataset.ImageType
    set_fields(dataset, {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": "PERFUSION",
        "AcquisitionDuration": float(1e3 * (shots[-1].time - first.time) + shot_length(series)),
        "PulseSequenceName": "*tfl2d1",
        "MRAcquisitionType": "2D",
        "EchoPulseSequence": "GRADIENT",
        "MultiPlanarExcitation": "NO",
        "PhaseContrast": "NO",
        "TimeOfFlightContrast": "NO",
        "SteadyStatePulseSequence": "NONE",
        "EchoPlanarPulseSequence": "NO",
        "SaturationRecovery": "YES",
        "SpectrallySelectedSuppression": "NONE",
        "GeometryOfKSpaceTraversal": "RECTILINEAR",
        "SegmentedKSpaceTraversal": "SINGLE",
        "RectilinearPhaseEncodeReordering": "LINEAR",
        "NumberOfKSpaceTrajectories": 1,
        "KSpaceFiltering": "NONE",
        "OversamplingPhase": "NONE",
        "ResonantNucleus": "1H",
        "ApplicableSafetyStandardAgency": "IEC",
        "CardiacSynchronizationTechnique": "PROSPECTIVE",
        "CardiacSignalSource": "ECG",
        "CardiacRRIntervalSpecified": float(round(1e3 * first.interval, 3)),
        "CardiacBeatRejectionTechnique": "NONE",
        "LowRRValue": None,
        "HighRRValue": None,
        "IntervalsAcquired": None,
        "IntervalsRejected": None,
        "BulkMotionCompensationTechnique": "NONE",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PresentationLUTShape": "IDENTITY",
        "DeviceSerialNumber": "0",
        "ContentQualification": "PRODUCT",
        "NumberOfFrames": len(shots),
        "InstanceCreationDate": dataset.StudyDate,
        "AcquisitionContextSequence": Items([]),
    })  # fmt: skip
    del dataset.AcquisitionDate
    _add_contrast(dataset, series)
    _add_dimensions(dataset, study)
    dataset.SharedFunctionalGroupsSequence = Items([_shared(series, shots)])
    frames = [_frame(study, series, shot, scaling, kind) for shot in shots]
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    set_pixels(dataset, np.stack([stored_pixels(shot.pixels, scaling, manner.signed) for shot in shots]))
    return dataset


def _add_contrast(dataset: Dataset, series: StoredSeries) -> None:
    """The agent as the enhanced objects have it, in place of the classic fields."""
    if not series.has_agent:
        return
    agent = _item(
        CodeValue="768763008",
        CodingSchemeDesignator="SCT",
        CodeMeaning="Gadolinium",
        ContrastBolusAgentNumber=1,
        ContrastBolusIngredientOpaque="NO",
        ContrastBolusAdministrationRouteSequence=Items([_code("47625008", "Intravenous route")]),
        ContrastBolusIngredientCodeSequence=Items([_code("58281002", "Gadolinium")]),
        ContrastBolusVolume=series.metadata.get("ContrastBolusVolume"),
        ContrastBolusIngredientConcentration=series.metadata.get("ContrastBolusIngredientConcentration"),
    )
    dataset.ContrastBolusAgentSequence = Items([agent])
    for name in ("Agent", "Ingredient", "Volume", "IngredientConcentration"):
        if f"ContrastBolus{name}" in dataset:
            delattr(dataset, f"ContrastBolus{name}")


def _add_dimensions(dataset: Dataset, study: Study) -> None:
    """Frames are told apart by stack, slice and time."""
    uid = study.uid("dimensions")
    dataset.DimensionOrganizationSequence = Items([_item(DimensionOrganizationUID=uid)])
    dataset.DimensionIndexSequence = Items([
        _item(DimensionOrganizationUID=uid, DimensionIndexPointer=Tag(pointer), FunctionalGroupPointer=Tag(group))
        for pointer, group in (
            ("StackID", "FrameContentSequence"),
            ("InStackPositionNumber", "FrameContentSequence"),
            ("TemporalPositionIndex", "FrameContentSequence"),
        )
    ])  # fmt: skip


def _shared(series: StoredSeries, shots: Sequence[Shot]) -> Dataset:
    rows, columns, slices = series.spacing
    field = float(series.metadata.get("MagneticFieldStrength", 0.0))
    n_rows, n_columns = shots[0].pixels.shape
    groups: dict[str, Dataset] = {
        "PixelMeasuresSequence": _item(
            PixelSpacing=[decimal(rows), decimal(columns)],
            SliceThickness=float(series.metadata.get("SliceThickness", slices)),
            SpacingBetweenSlices=float(slices),
        ),
        "FrameAnatomySequence": _item(FrameLaterality="U", AnatomicRegionSequence=Items([_code("80891009", "Heart")])),
        "MREchoSequence": _item(EffectiveEchoTime=float(1e3 * series.metadata.get("EchoTime", 0.0))),
        "MRAveragesSequence": _item(NumberOfAverages=1),
        "MRImagingModifierSequence": _item(
            MagnetizationTransfer="NONE",
            BloodSignalNulling="NO",
            Tagging="NONE",
            TransmitterFrequency=_GYROMAGNETIC * field,
            PixelBandwidth=1000.0,
        ),
        "MRFOVGeometrySequence": _item(
            InPlanePhaseEncodingDirection="COLUMN",
            MRAcquisitionFrequencyEncodingSteps=n_columns,
            MRAcquisitionPhaseEncodingStepsInPlane=n_rows,
            PercentSampling=100.0,
            PercentPhaseFieldOfView=float(100.0 * n_rows * rows / (n_columns * columns)),
        ),
        "MRReceiveCoilSequence": _item(
            ReceiveCoilName="BODY", ReceiveCoilManufacturerName="", ReceiveCoilType="MULTICOIL",
            QuadratureReceiveCoil="NO",
            MultiCoilDefinitionSequence=Items([_item(MultiCoilElementName="1", MultiCoilElementUsed="YES")]),
        ),
        "MRTransmitCoilSequence": _item(
            TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY"
        ),
        "FrameVOILUTSequence": _item(WindowCenter=decimal(series.maximum / 2), WindowWidth=decimal(series.maximum)),
    }  # fmt: skip
    if series.has_agent:
        groups["ContrastBolusUsageSequence"] = _item(
            ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered="YES", ContrastBolusAgentDetected="YES"
        )
    shared = Dataset()
    set_fields(shared, {name: Items([group]) for name, group in groups.items()})
    return shared


def _frame(study: Study, series: StoredSeries, shot: Shot, scaling: Scaling | None, kind: Any) -> Dataset:
    begin = STUDY_START + series.start
    own, constant = date_time(begin + shot.time), date_time(begin)
    reference = study.manner.frame_clock == "reference"
    slope, intercept = (scaling.slope, scaling.intercept) if scaling else (1.0, 0.0)
    groups: dict[str, Dataset] = {
        "FrameContentSequence": _item(
            FrameAcquisitionDateTime=constant if reference else own,
            FrameReferenceDateTime=own,
            FrameAcquisitionDuration=shot_length(series),
            FrameAcquisitionNumber=shot.frame + 1,
            StackID=_STACK,
            InStackPositionNumber=shot.slice + 1,
            TemporalPositionIndex=shot.frame + 1,
            DimensionIndexValues=[1, shot.slice + 1, shot.frame + 1],
        ),
        "CardiacSynchronizationSequence": _item(
            NominalPercentageOfCardiacPhase=round(100.0 * shot.delay / shot.interval, 3),
            NominalCardiacTriggerDelayTime=round(1e3 * shot.delay, 3),
            ActualCardiacTriggerDelayTime=round(1e3 * shot.delay, 3),
            RRIntervalTimeNominal=round(1e3 * shot.interval, 3),
        ),
        "PlanePositionSequence": _item(ImagePositionPatient=decimals(shot.position)),
        "PlaneOrientationSequence": _item(ImageOrientationPatient=decimals(shot.orientation)),
        "MRImageFrameTypeSequence": _item(
            FrameType=list(kind),
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
            ComplexImageComponent="MAGNITUDE",
            AcquisitionContrast="PERFUSION" if shot.saturated else "PROTON_DENSITY",
        ),
        "MRTimingAndRelatedParametersSequence": _item(
            RepetitionTime=float(1e3 * series.metadata.get("RepetitionTimeExcitation", 0.0)),
            FlipAngle=shot.flip_angle,
            EchoTrainLength=1,
            RFEchoTrainLength=0,
            GradientEchoTrainLength=1,
            GradientOutputType="DB_DT",
            GradientOutput=10.0,
            SpecificAbsorptionRateSequence=Items(
                [_item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=1.0)]
            ),
            OperatingModeSequence=Items([_item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL")]),
        ),
        "MRModifierSequence": _item(
            InversionRecovery="NO",
            FlowCompensation="NONE",
            Spoiling="RF",
            T2Preparation="NO",
            SpectrallySelectedExcitation="NONE",
            SpatialPresaturation="SLAB" if shot.saturated else "NONE",
            PartialFourier="NO",
            ParallelAcquisition="NO",
        ),
        "PixelValueTransformationSequence": _item(
            RescaleSlope=float(slope), RescaleIntercept=float(intercept), RescaleType="US"
        ),
    }
    frame = Dataset()
    set_fields(frame, {name: Items([group]) for name, group in groups.items()})
    return frame


def _code(value: str, meaning: str) -> Dataset:
    """A concept of SNOMED CT."""
    return _item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


def _item(**fields: Any) -> Dataset:
    item = Dataset()
    set_fields(item, fields)
    return item
