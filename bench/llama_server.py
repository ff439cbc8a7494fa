"""The peer: llama.cpp's own server (PyPI: xllamacpp) on a model, until it is ended.

Runs in an environment of its own, see the Makefile. It gets what Antiphon takes by itself: one pool
of cells for all answers, flash attention, batches of the same size, and no thinking unless it is
asked for, so that both compute the same prompt.
"""

import argparse
import time

import xllamacpp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--slots", type=int, required=True)
parser.add_argument("--cells", type=int, required=True, help="tokens that the cache holds")
parser.add_argument("--threads", type=int, default=-1, help="-1 leaves them to the server")
parser.add_argument("--batch", type=int, default=2048, help="rows of a step")
parser.add_argument("--ubatch", type=int, default=512, help="rows that are computed together")
parser.add_argument("--thinks", action="store_true", help="as its template does")
arguments = parser.parse_args()

params = xllamacpp.CommonParams()
params.model.path = arguments.model
params.n_ctx = arguments.cells
params.n_parallel = arguments.slots
params.n_batch, params.n_ubatch = arguments.batch, arguments.ubatch
params.kv_unified = True
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
params.cpuparams.n_threads = arguments.threads
params.cpuparams_batch.n_threads = arguments.threads
params.default_template_kwargs = {"enable_thinking": str(arguments.thinks).lower()}
params.hostnames = ["127.0.0.1"]
params.port = arguments.port
params.verbosity = 1  # errors
server = xllamacpp.Server(params)
print(f"listening on {server.listening_address}", flush=True)
time.sleep(3600)
