#!/bin/sh
# Makes the Go stubs of ../../proto/muster/v1 in ./gen. Needs Go 1.24 and buf (`npm ci` at the root brings it); the plugins are in go.mod.
set -eu
cd "$(dirname "$0")"
PATH="$PWD/../../node_modules/.bin:$PATH"
buf generate ../../proto --template buf.gen.yaml --path ../../proto/muster/v1 -o .
