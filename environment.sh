# Sourced by run_all.sh and run_tests.sh: finds or makes the Python environment and leaves it in $python.
#
# In an active virtual or conda environment (conda's base does not count) nothing is installed: versions
# are checked, and what is missing is named. Otherwise .venv is made once, and brought up to date when
# requirements.lock or pyproject.toml has changed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found: install one, or activate an environment that has it"
}

active_environment() {
    if [ -n "${VIRTUAL_ENV:-}" ] && [ "$VIRTUAL_ENV" != "$root/.venv" ]; then
        echo "$VIRTUAL_ENV"
    elif [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" != base ]; then
        echo "$CONDA_PREFIX"
    fi
}

update_venv() {
    local stamp="$root/.venv/installed-from"
    if cat "$root/requirements.lock" "$root/pyproject.toml" | cmp -s - "$stamp" && "$root/.venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    echo "Setting up .venv (once, a minute or more) ..." >&2
    "$root/.venv/bin/python" -c '' 2>/dev/null || "$(find_python)" -m venv --clear "$root/.venv" \
        || fail "python -m venv failed: install your system's package for it (Debian: python3-venv)"
    rm -f "$stamp"
    local pip=("$root/.venv/bin/python" -m pip --disable-pip-version-check install --quiet)
    "${pip[@]}" -r "$root/requirements.lock" && "${pip[@]}" --no-deps --editable "$root" \
        || fail "installing requirements.lock failed (see above); the same command tries again"
    cat "$root/requirements.lock" "$root/pyproject.toml" > "$stamp"
}

environment=$(active_environment)
if [ -n "$environment" ]; then
    python=$environment/bin/python
    [ -x "$python" ] || fail "the active environment $environment has no bin/python: run 'deactivate' and try again"
    "$python" -P "$root/src/helpers/command/requirements.py" || exit 1
else
    update_venv
    python=$root/.venv/bin/python
fi
export PYTHONPATH="$root/src${PYTHONPATH:+:$PYTHONPATH}" # this checkout, whatever another one has installed
