#!/usr/bin/env bash
# Resolves the pins of constraints.txt against the public package index, for every Python that setup.py
# names and every supported platform. Wheels that happen to lie on this machine do not count, as
# they do in an installation: that hid a set that installed nowhere else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly platforms=(x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin)
export MACOSX_DEPLOYMENT_TARGET=14.0 # the oldest that PyTorch has builds for
unset "${!UV_@}" # settings of this machine do not count either

mapfile -t pythons < <(grep -oP "Programming Language :: Python :: \K3\.\d+" setup.py)
for python in "${pythons[@]}"; do
    for platform in "${platforms[@]}"; do
        # what resolves with the tests' packages does so without them
        if ! .venv/bin/uv pip compile --quiet --no-config --extra onedl --extra test \
            --python-version "$python" --python-platform "$platform" \
            --constraints constraints.txt --output-file /dev/null setup.py; then
            echo "resolve: the pins do not install with Python $python on $platform" >&2
            exit 1
        fi
    done
done
echo "resolve: the pins install with Python ${pythons[*]} on ${platforms[*]}"
