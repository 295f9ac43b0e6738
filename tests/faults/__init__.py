"""Faults made for real: kills, interrupts, power cuts, full disks, other users; and what must hold after each."""
