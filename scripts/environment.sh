# The Python environment of this checkout; sourced by the scripts beside it, not run.
#
# `.venv` is made when it is missing and brought up to date only when the lock or the project file have changed,
# so that a second run starts at once. Packages come from wherever pip is set to look; no place is named here.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\033[1m== %s\033[0m\n' "$*"; }

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# as_root COMMAND...: run a command as root, if need be by sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

# install_packages PACKAGE...: install Debian packages.
install_packages() {
    say "Installing $*"
    command -v apt-get >/dev/null ||
        fail "Missing: $*. There is no apt-get here to install them with; install them by hand, then run this again."
    as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" ||
        fail "Could not install: $*. Run as root: apt-get install $*"
}

# find_python: print the first Python that is new enough; PYTHON names one to use instead.
find_python() {
    local python
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    return 1
}

# make_environment start|test: what the inbox needs, or also what its tests need.
make_environment() {
    local python stamp wanted
    if ! .venv/bin/python -c '' 2>/dev/null; then
        command -v python3 >/dev/null || [ -n "${PYTHON:-}" ] || install_packages python3 python3-venv
        python=$(find_python) || fail "Python 3.11 or later is needed; name one with PYTHON=/path/to/python."
        "$python" -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
        say "Making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    stamp=.venv/installed
    # A copy of this checkout must not run the code of the first one.
    wanted=$(cat requirements.lock pyproject.toml <(pwd) | sha256sum | cut -d ' ' -f 1)
    # An environment that can run the tests can run the inbox too.
    if grep -qsx -e "test $wanted" -e "$1 $wanted" "$stamp"; then
        return
    fi
    say "Installing the locked packages"
    rm -f "$stamp"
    if [ "$1" = test ]; then
        .venv/bin/python -m pip install --quiet --requirement requirements.lock
        .venv/bin/python -m pip install --quiet --no-deps --editable .
    else
        .venv/bin/python -m pip install --quiet --constraint requirements.lock --editable .
    fi
    printf '%s %s\n' "$1" "$wanted" >"$stamp"
}
