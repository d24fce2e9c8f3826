"""The report of a run of VL-FAU as a page (`models.facial.report`)."""
