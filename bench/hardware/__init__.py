"""Everything about the machine: devices, memory, energy, precision, and repeated steps that a GPU records once."""
