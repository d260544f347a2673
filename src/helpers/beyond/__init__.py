"""Further experiments, one question each, that look for the stages more directly than the paper's figures do."""
