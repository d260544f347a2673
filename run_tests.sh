#!/usr/bin/env bash
# Run every test: the notebooks against their committed outputs (nbval), and the helpers (pytest).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$root"
exec "$python" -m pytest --nbval-lax --nbval-current-env "$@"
