#!/usr/bin/env bash
# The tests of detection. They need mmdetection and an mmcv with compiled operators, which .venv has
# not: .venv-det is an environment that holds these and finds all else in .venv. Skipped, in one
# line, where the folder VIL_MM_WHEELS has no such wheel of mmcv (docs/other_tasks.md builds one).
# Arguments go to pytest; without any the quick tests run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly venv=.venv-det
readonly wheels=${VIL_MM_WHEELS:-../shared/wheels}
readonly stamp=$venv/.installed
# mmdetection's own requirements would replace OpenCV and NumPy: what it imports is named here
readonly packages=(
    onedl-mmdetection==3.5.1
    pycocotools==2.0.11 shapely==2.2.0 terminaltables==3.1.10 six==1.17.0 tqdm==4.70.1
    imaug==0.4.3 scikit-image==0.26.0 imageio==2.38.1 lazy-loader==0.6
)
readonly tests=(
    tests/configs/test_det_configs.py
    tests/runs/tasks/test_detection.py
    tests/tools/test_detectors.py
)

skip() {
    echo "detection: skipped, $1"
    exit 0
}

[ -x .venv/bin/python ] || skip 'there is no .venv (make env)'
tag=$(.venv/bin/python -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
wheel=$(find "$wheels" -name "onedl_mmcv-*-$tag-*.whl" 2>/dev/null | sort | tail -n 1 || true)
[ -n "$wheel" ] || skip "no onedl_mmcv wheel for $tag in $wheels"

fingerprint() { cat .ci/det.sh constraints.txt | cksum; basename "$wheel"; pwd; }

if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$(fingerprint)" ]; then
    echo "detection: installing mmdetection and $(basename "$wheel") in $venv"
    rm -rf "$venv"
    .venv/bin/python -m venv --without-pip "$venv"
    below=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    above=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # addsitedir and not a bare path: .venv finds vil_mm by a .pth file of its own
    echo "import site; site.addsitedir('$below')" >"$above/layered.pth"
    "$venv/bin/python" -m pip install -q --no-deps --ignore-installed \
        --disable-pip-version-check "$wheel" "${packages[@]}"
    fingerprint >"$stamp"
fi

(($#)) || set -- -q -m 'not slow'
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
"$venv/bin/python" -m pytest -p no:cacheprovider "${tests[@]}" "$@"
