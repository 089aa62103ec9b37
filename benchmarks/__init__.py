"""Benchmarks: ``python -m benchmarks NAME [--json]``; quality and cost together, peers in the same run."""
