"""Thin helpers behind the notebooks: models and text -> one module per experiment -> tables -> figures."""

import warnings

warnings.filterwarnings("ignore", message="IProgress not found")  # progress bars need no widgets here
