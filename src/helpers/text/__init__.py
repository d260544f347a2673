"""Text and words: documents read, tokens spelled, labelled sentences."""
