"""Loops compiled by numba that no family of parts owns, and what all of them are declared with."""
