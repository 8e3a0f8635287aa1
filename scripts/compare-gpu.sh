#!/usr/bin/env bash
# As compare-cpu.sh, on this machine's GPU: against PyTorch compiled, with its flash backend and FlexAttention, and Triton's
# attention, in bf16. Not yet run on a GPU. A GPU machine without Rust takes a bundle's `./run.sh attention` and `compare`.
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
python=${PYTHON:-$root/.tools/peers/bin/python}
# cuBLAS, where the system has none: PyTorch brings it as packages of the namespace nvidia.
libraries=$("$python" - <<'PYTHON' || true
import glob, os
try:
    import nvidia
    print(":".join(sorted({d for root in nvidia.__path__ for d in glob.glob(os.path.join(root, "*", "lib"))})))
except ImportError:
    pass
PYTHON
)
[[ -z $libraries ]] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries
exec "$root/scripts/compare-cpu.sh" --device cuda "$@"
