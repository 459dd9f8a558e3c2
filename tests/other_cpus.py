"""The suite as other machines would run it: other instruction sets, other numbers of threads, files at odd addresses.

    python -m tests.other_cpus [--quick] [pytest's own arguments]

Every kind below is a run of its own, because torch and MKL read these variables once. `--quick` takes the tests in
which a bit more or less shows, on the two kinds that differ most at once, a few minutes in all; without it every kind
runs the whole suite. Status 1 when a kind failed.
"""

import os
import subprocess
import sys
import time

KINDS = {  # name: variables of torch, oneDNN and MKL, and those that tests/conftest.py reads
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "no vectors beyond SSE": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "MKL held to AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL in its reproducible mode": {"MKL_CBWR": "COMPATIBLE"},
    "tensors in files 40 bytes off": {"FGQ_TEST_MISALIGNED": "40"},
    "two threads": {"FGQ_TEST_THREADS": "2"},
    "four threads": {"FGQ_TEST_THREADS": "4"},
}
QUICK_KINDS = ("AVX2", "tensors in files 40 bytes off")
QUICK = """
tests/test_tensor_files.py tests/quant tests/affine tests/vggt/test_model.py tests/checkpoint/test_load.py
tests/checkpoint/test_quantized.py tests/calibrate/test_exactness.py tests/calibrate/test_parts.py
tests/calibrate/test_settings.py::test_every_recipe_runs_at_every_setting_and_comes_back
tests/calibrate/test_calibration_twin.py
""".split()


def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    chosen = [argument for argument in arguments if argument != "--quick"]
    failed = []
    both = {key: value for name in QUICK_KINDS for key, value in KINDS[name].items()}
    kinds = {" and ".join(QUICK_KINDS): both} if quick else KINDS
    for name, variables in kinds.items():
        started = time.perf_counter()
        print(f"== {name}: {' '.join(f'{key}={value}' for key, value in variables.items())}", flush=True)
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal", *(QUICK if quick else []), *chosen]
        # Shapes are the same on every CPU, and `make test` checks them.
        if subprocess.run(command, env=os.environ | {"FGQ_TEST_SHAPES": "0"} | variables).returncode:
            failed.append(name)
        print(f"   {time.perf_counter() - started:.0f} s", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(kinds)} kinds passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
