#!/usr/bin/env bash
# All tests, in one run: the linters, the packages' tests (race detector on), then those that need a cluster.
# Skipped tests are listed with their reasons. A test that fails is tried up to twice more, and all outcomes are shown: most of
# them make real nodes fail in real time, on a machine that has other things to do as well.
set -uo pipefail
cd "$(dirname "$0")"
HERALD_TEST_BIN=$(go run ./cmd/lab build) || exit 1
export HERALD_TEST_BIN
gotestsum=$(go tool -n gotestsum) || exit 1
run() { "$gotestsum" --format pkgname --rerun-fails=2 --rerun-fails-max-failures=10 --packages=./... -- "$@"; }
status=0
./lint.sh || status=1
(cd .. && run -race) || status=1
# One package after the other: two clusters at a time would share two cores and tell nothing of time.
run -p 1 -timeout 45m || status=1
exit $status
