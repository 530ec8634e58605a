#!/bin/sh
# Makes the Python stubs of ../../proto/muster/v1 in ./muster. Needs `pip install -r requirements.txt`.
set -eu
cd "$(dirname "$0")"
protos=../../proto
"${PYTHON:-python3}" -m grpc_tools.protoc -I "$protos" --python_out=. --grpc_python_out=. \
  "$protos"/muster/v1/common.proto "$protos"/muster/v1/runner.proto "$protos"/muster/v1/worker.proto "$protos"/muster/v1/job.proto
