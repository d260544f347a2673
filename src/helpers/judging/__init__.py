"""From tables to verdicts: claims and their statistics, boundaries between stages, controls, published numbers."""
