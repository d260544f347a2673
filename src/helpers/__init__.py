"""Thin helpers behind the notebooks: models and text -> one module per experiment -> tables -> figures."""

import os
import warnings

# Threads that wait for each other sleep. On a busy machine those that spin keep from their turn the ones they wait for,
# and everything takes ten times as long. OpenMP reads this once, when PyTorch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

warnings.filterwarnings("ignore", message="IProgress not found")  # progress bars need no widgets here
