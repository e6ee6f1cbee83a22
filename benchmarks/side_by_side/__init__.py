"""What benchmarks share that judge models of ours and of others by the same data: splits, processes, runners, figures."""
