"""Faults: kills, power cuts, full disks, two runs at once; and mutations, which show that the faults can fail."""
