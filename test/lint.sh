#!/usr/bin/env bash
# gofmt, go vet and staticcheck, for both modules.
set -euo pipefail
cd "$(dirname "$0")"
staticcheck=$(go tool -n staticcheck)
unformatted=$(gofmt -l ../cmd ../pkg .)
[ -z "$unformatted" ] || { echo "lint: not as gofmt has it:" $unformatted; exit 1; }
for module in .. .; do
  (cd "$module" && go vet ./... && "$staticcheck" ./...)
done
