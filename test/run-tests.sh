#!/usr/bin/env bash
# All tests, in one run: those of the packages (race detector on), then those that need a cluster.
# Every skipped test is listed with its reason at the end of its part.
set -uo pipefail
cd "$(dirname "$0")"
HERALD_TEST_BIN=$(go run ./cmd/lab build) || exit 1
export HERALD_TEST_BIN
sum() { go tool gotestsum --format pkgname --hide-summary=output "$@"; }
status=0
sum --raw-command -- go test -C .. -race -json ./... || status=1
# One package after the other: two clusters at a time would share two cores and tell nothing of time.
sum -- -p 1 -timeout 45m ./... || status=1
exit $status
