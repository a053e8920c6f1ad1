#!/usr/bin/env bash
# A server of another machine for the end-to-end tests, which start it as `E2E_SERVER DIRECTORY RTMP-PORT HTTP-PORT`.
#
#   E2E_SERVER=$PWD/cross/serve.sh RUNNEL_TRIPLE=TRIPLE cargo test --test e2e FILTER
set -euo pipefail
here=$(dirname "$(realpath "$0")")
exec "$here/run.sh" "$here/../target/dist/runnel-$RUNNEL_TRIPLE" -c "$1/runnel.conf"
