"""DICOM: studies read into a raw dataset, results written back, and the phantom as a scanner would store it."""
