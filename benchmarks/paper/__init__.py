"""The page of the paper's claims and open questions, docs/results/paper.md, from result files that lie beside it."""
