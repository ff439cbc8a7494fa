"""The peer: llama.cpp's own server (PyPI: xllamacpp) on a model, until it is ended.

Runs in an environment of its own, see the Makefile: `python bench/llama_server.py MODEL.gguf`.
"""

import sys
import time

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 8192
params.n_parallel = 4
params.kv_unified = True
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
server = xllamacpp.Server(params)
print(f"listening on {server.listening_address}", flush=True)
time.sleep(3600)
