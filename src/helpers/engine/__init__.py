"""How models are found, placed, run and read off; nothing here knows of an experiment."""
