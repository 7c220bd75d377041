"""A real model behind llama.cpp's HTTP server on loopback, for as long as standard input stays open.

Whoever starts this holds the other end of the pipe. When that process ends, however it ends, the pipe closes and the
server goes with it: nothing is left running.
"""

import argparse
import os
import sys

import xllamacpp

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("weights", help="a GGUF file")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--name", required=True, help="what the model is called in the API")
parser.add_argument("--context", type=int, required=True, help="the context window, in tokens")
parser.add_argument("--longest-answer", type=int, required=True, help="in tokens, when a request sets no limit")
parser.add_argument("--key", required=True, help="the API key that it asks for")
options = parser.parse_args()

settings = xllamacpp.CommonParams()
settings.model.path = options.weights
settings.model_alias = {options.name}
settings.hostnames = ["127.0.0.1"]
settings.port = options.port
settings.api_keys = [options.key]
settings.n_ctx = options.context
settings.n_parallel = 1
settings.n_predict = options.longest_answer
settings.sampling.temp = 0.0
settings.n_gpu_layers = 0
# llama.cpp's threads wait for each other by spinning. One is far faster than two as soon as anything else runs here.
settings.cpuparams.n_threads = 1
settings.cpuparams_batch.n_threads = 1
settings.use_jinja = True
settings.warmup = False
settings.ui = False
settings.offline = True

server = xllamacpp.Server(settings)
print(f"listening on {server.listening_address}", flush=True)
sys.stdin.buffer.read()
os._exit(0)
