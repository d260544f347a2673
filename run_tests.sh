#!/usr/bin/env bash
# Check style and types, then run every test: the notebooks against their committed outputs (nbval), and the helpers
# (pytest), on two processes. Arguments go to pytest: ./run_tests.sh -m "not slow"
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"
"$python" -m ruff check --quiet
"$python" -m ruff format --check --quiet || fail "not formatted (see: ruff format --diff): run 'ruff format'"
"$python" -m mypy
exec "$python" -m pytest -n 2 --nbval-lax --nbval-current-env "$@"
