#!/usr/bin/env bash
# Makes the project's environment in .venv with the packages of requirements/, whose hashes pip checks:
# `make env` calls it.
# Whatever goes wrong ends in one line on stderr, and the next call starts over from a clean state.
#
# Usage: make_env.sh [EXTRAS], extras of setup.py: `onedl` (default: what a run needs) or `onedl,test`.
# TORCH_INDEX=ADDRESS takes PyTorch from that package index instead of pip's own. Other builds of it have
# other hashes: with TORCH_INDEX, or with pip's own setting find-links, PyTorch is installed unchecked.
#
# States of .venv: .installing (made or changed by this script, not finished), .installed-EXTRAS
# (finished; holds the fingerprint of what it was made from), neither (somebody else's: used, never
# removed).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly venv=.venv
readonly log=$venv/install.log
readonly unfinished=$venv/.installing
readonly extras=${1:-onedl}
readonly stamp=$venv/.installed-$extras
readonly pins=requirements/${extras##*,}.txt
readonly lock=.venv.lock
readonly cpu_index=https://download.pytorch.org/whl/cpu
readonly network_signs='NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|ProxyError|SSLError|ProtocolError|IncompleteRead|Max retries exceeded|Network is unreachable|Temporary failure in name resolution|5[0-9][0-9] Server Error'

say() { printf 'make env: %s\n' "$*"; }

fail() {
    say "$@" >&2
    exit 1
}

fingerprint() { cksum setup.py requirements/*.txt tools/make_env.sh; }

# Lines of the pins of PyTorch with what its CUDA build brings (1), or of all other packages (0). The
# tests need Triton with every build.
pins_of_torch() {
    local names='torch|torchvision|nvidia-.*|cuda-.*'
    [[ $extras == *test ]] || names+='|triton'
    awk -v wanted="$1" -v names="^($names)==" '/^[a-z]/ {torch = $0 ~ names}
        torch == wanted' "$pins"
}

has_own_torch() {
    [ -n "${TORCH_INDEX:-}" ] || "$venv/bin/python" -m pip config list | grep 'find-links' >>"$log"
}

# Prints why an interpreter cannot make the environment, or nothing when it can.
why_unfit() {
    local version
    if ! version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
        echo "$1 does not run"
    elif ! "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$1 is Python $version, but 3.11 or newer is needed"
    elif ! "$1" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$1 has no venv module (on Debian and Ubuntu: apt install python$version-venv)"
    fi
}

pick_python() {
    local candidate reason reasons=''
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
        reason=$(why_unfit "$candidate")
        if [ -z "$reason" ]; then
            echo "$candidate"
            return
        elif [ -n "${PYTHON:-}" ]; then # asked for by name: no other will do
            fail "$reason: name a Python 3.11 or newer with PYTHON=/path/to/python3"
        elif [[ $reason != *'does not run' ]]; then # absent, or a shim without a version behind it
            reasons+="; $reason"
        fi
    done
    fail "no usable Python 3.11 or newer was found${reasons}: install one or name it, make env PYTHON=/path/to/python3"
}

# PyTorch's build for CUDA, pip's choice on Linux, brings CUDA's libraries: most of the space.
takes_cuda() { [ -z "${TORCH_INDEX:-}" ] && [ "$(uname -s)" = Linux ]; }

has_gpu() { [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null; }

check_space() {
    local free_kib need_gib=3
    ! takes_cuda || need_gib=8
    free_kib=$(df -Pk . | awk 'NR == 2 {print $4}')
    if ((free_kib < need_gib * 1024 * 1024)); then
        fail "about $need_gib GiB of free disk space are needed, here are $((free_kib / 1024)) MiB: free some and run make again"
    fi
}

propose_cpu_build() {
    if takes_cuda && ! has_gpu; then
        say "no NVIDIA GPU found; TORCH_INDEX=$cpu_index make ... would take PyTorch's smaller CPU build"
    fi
}

make_venv() {
    local python
    python=$(pick_python)
    rm -rf "$venv" 2>/dev/null || fail "the old $venv cannot be removed: remove it and run make again"
    check_space
    say "making $venv with $python"
    mkdir "$venv"
    touch "$unfinished"
    "$python" -m venv "$venv" >"$log" 2>&1 || fail "$(diagnose)"
}

# One run at a time; the lock is a link, made in one step, that names the process holding it.
take_lock() {
    local other
    until ln -s $$ "$lock" 2>/dev/null; do
        other=$(readlink "$lock") || fail "cannot write to $PWD: make it writable and run make again"
        if kill -0 "$other" 2>/dev/null; then
            fail "process $other is making $venv already: wait for it (or remove $lock if that is not so)"
        fi
        rm -f "$lock" # left by a run that was killed
    done
    trap 'rm -f "$lock"' EXIT
}

is_ours() { compgen -G "$venv/.installed*" >/dev/null; }

prepare_venv() {
    if [ -e "$unfinished" ]; then
        say 'an earlier try was not finished: starting over'
        make_venv
    elif "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        if is_ours; then
            rm -f "$venv"/.installed*
            touch "$unfinished"
        fi
        : >"$log"
    elif is_ours || [ ! -e "$venv" ]; then
        make_venv
    else
        fail "$venv exists but is not a working environment: move or remove it and run make again"
    fi
}

# Turns the log of a failed step into the one line that the user sees.
diagnose() {
    local missing
    missing=$(sed -n 's/.*No matching distribution found for \([^ ]*\).*/\1/p' "$log" | tail -n 1)
    if grep -q 'DO NOT MATCH THE HASHES' "$log"; then
        echo "a package differs from the one in $pins: install from an index with the original files, or look into it (details: $log)"
    elif grep -q 'No space left on device' "$log"; then
        echo "the disk ran full: free some space (PyTorch for CUDA takes 6 GiB, the CPU build 1) and run make again"
    elif grep -qE "$network_signs" "$log"; then
        echo "packages could not be fetched over the network: check the connection and pip's index and proxy settings, then run make again (details: $log)"
    elif grep -q '(from versions: none)' "$log"; then # offline, or far too new a Python: pip tells no more
        echo "no package index offers $missing for $("$venv/bin/python" -V): check the connection and pip's index settings, or name another Python, make env PYTHON=/path/to/python3 (details: $log)"
    elif [ -n "$missing" ]; then
        echo "no build of $missing for $("$venv/bin/python" -V) on this system: try another, make env PYTHON=/path/to/python3 (details: $log)"
    else
        echo "installing failed with '$(last_error)': fix that and run make again (details: $log)"
    fi
}

last_error() {
    { grep -iE '^ *(error|[a-z.]*error:)' "$log" | grep -v ResolutionImpossible || tail -n 1 "$log"; } |
        tail -n 1 | cut -c 1-200
}

# Not compiled ahead: that doubles the time, and Python compiles what it imports anyway.
pip_install() {
    "$venv/bin/python" -m pip install --no-input --no-compile --progress-bar off \
        --disable-pip-version-check "$@" >>"$log" 2>&1 || fail "$(diagnose)"
}

# After the others, so that what they share is checked with any build of PyTorch.
install_torch() {
    local torch_pins
    torch_pins=$(sed -nE 's/^(torch(vision)?==[^ ]*).*/\1/p' "$pins" | tr '\n' ' ')
    say "installing $torch_pins"
    if has_own_torch; then
        say "PyTorch comes from an index or folder of your own: its hashes are not checked"
        pip_install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} $torch_pins
    else
        pins_of_torch 1 >"$venv/torch.txt"
        pip_install --require-hashes --no-deps -r "$venv/torch.txt"
    fi
}

# Catches what pip cannot see, such as system libraries that OpenCV needs.
check_imports() {
    "$venv/bin/python" -c 'import torch, cv2, mmengine' >>"$log" 2>&1 ||
        fail "installed, but importing fails with '$(last_error)': fix that (for libGL or libgthread on Debian and Ubuntu: apt install libgl1 libglib2.0-0) and run make again"
}

readonly describe_native='from vil_mm.layers.native.library import describe; print(describe())'

trap 'fail "interrupted: run make again, it will start over"' INT TERM HUP
export PIP_USER=0 # a user's setting of it would make pip refuse to install into .venv

if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; then
    touch "$stamp" # nothing changed but the dates of the files, as after a checkout
    exit 0
fi
take_lock
prepare_venv
propose_cpu_build
say "installing the packages of $pins (log: $log)"
pins_of_torch 0 >"$venv/others.txt"
pip_install --require-hashes --no-deps -r "$venv/others.txt"
install_torch
say "installing vil_mm[$extras]"
# pip cannot check a folder, so vil_mm goes last, built by the setuptools just installed
pip_install --no-deps --no-build-isolation -e .
check_imports
for finished in "$venv/.installed-onedl" "$stamp"; do # all choices of extras include onedl
    fingerprint >"$finished"
done
rm -f "$unfinished"
say "native scan for the CPU: $("$venv/bin/python" -c "$describe_native" 2>>"$log" || echo unknown)"
say "done, $venv is ready"
