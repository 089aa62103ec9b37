"""Numba kernels shared by the indexes: scalar, nogil, cached, one algorithm a file."""
