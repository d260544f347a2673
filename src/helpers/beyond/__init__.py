"""Further experiments, one question each: relatives of the paper's own (5, 5.1 to 5.3), and tests of ours."""
