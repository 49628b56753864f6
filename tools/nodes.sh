#!/usr/bin/env bash
# npm run nodes -- [version...] [folder or suite...]
# Runs suites (all except hosts, unless folders or suites are named: path, path/once.ts) on each Node (every supported
# major, unless versions are named). A version is one that npm accepts after an @: 22, 20.19.0. The binaries come from
# the npm registry and are removed at the end.
set -uo pipefail
cd "$(dirname "$0")/.."

nodes=()
suites=()
for word in "$@"; do
  if [[ $word =~ ^[0-9.]+$ ]]; then nodes+=("$word"); else suites+=("$word"); fi
done
[ ${#nodes[@]} -gt 0 ] || nodes=(20 22 24 26)
[ ${#suites[@]} -gt 0 ] || suites=(unit providers path stores security package integration)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
platform=$(node -p 'process.platform + "-" + process.arch')
status=0
for node in "${nodes[@]}"; do
  mkdir "$folder/$node"
  archive=$(npm pack --silent --pack-destination "$folder" "node-$platform@$node") &&
    tar -xzf "$folder/$archive" -C "$folder/$node" --strip-components=1 || { status=1; continue; }
  echo "# Node $("$folder/$node/bin/node" --version)"
  PATH="$folder/$node/bin:$PATH" bash test/run.sh "${suites[@]}" || status=1
done
exit "$status"
