"""Crash dumps of 64-bit kernels, as files."""
