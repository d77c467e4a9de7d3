"""Results as DICOM: parametric maps, segmentations, pictures and the page, in the patient's study or in a new one."""
