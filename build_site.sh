#!/usr/bin/env bash
# Build the site in site/, from the files as they are stored: nothing is run. ./build_site.sh DIR builds it elsewhere.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if ! "$python" -c 'import furo, myst_nb, sphinx' 2>/dev/null; then
    install=("$python" -m pip install --editable "$root[site]")
    [ "$python" = "$root/.venv/bin/python" ] || fail "the active environment lacks the site's packages: run '${install[*]}'"
    "${install[@]}" --quiet --disable-pip-version-check || fail "installing the site's packages failed (see above)"
fi
site=${1:-$root/site}
doctrees=$(mktemp -d)
trap 'rm -rf "$doctrees"' EXIT
# All is read afresh: a page depends on more than its own file, and it takes seconds.
"$python" -m sphinx --quiet --fail-on-warning --keep-going --conf-dir "$root/docs" --doctree-dir "$doctrees" "$root" "$site"
echo "$site/index.html"
