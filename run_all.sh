#!/usr/bin/env bash
# Regenerate every figure: of the bundled model, or of any other (./run_all.sh --help).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
exec "$python" -m helpers.pipeline "$@"
