"""Benchmarks: figures beside what pgbench reaches on the same PostgreSQL in the same run."""
