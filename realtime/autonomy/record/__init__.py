"""The record of a session in one HDF5 file: written by `recorder`, read by `reader`; begin with `events`, what it holds."""
