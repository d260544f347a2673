"""Pages: files of HTML with all they need inside, written by a run, read in any browser."""
