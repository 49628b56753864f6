#!/usr/bin/env bash
# npm run nodes -- [version...] [suite...]
# Runs the suites (all, unless some are named) on each Node (every supported major, unless some are named). A version
# is what npm takes after the @: 22, 20.19.0. The binaries come from the npm registry into a folder that is removed.
set -uo pipefail
cd "$(dirname "$0")/.."

nodes=()
suites=()
for word in "$@"; do
  if [[ $word =~ ^[0-9.]+$ ]]; then nodes+=("$word"); else suites+=("$word"); fi
done
[ ${#nodes[@]} -gt 0 ] || nodes=(20 22 24 26)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
platform=$(node -p 'process.platform + "-" + process.arch')
status=0
for node in "${nodes[@]}"; do
  mkdir "$folder/$node"
  archive=$(npm pack --silent --pack-destination "$folder" "node-$platform@$node") &&
    tar -xzf "$folder/$archive" -C "$folder/$node" --strip-components=1 || { status=1; continue; }
  echo "# Node $("$folder/$node/bin/node" --version)"
  # Coverage is for the run that has every suite and the Node of the day: `npm test`.
  PATH="$folder/$node/bin:$PATH" node_modules/.bin/tap run \
    --disable-coverage --allow-empty-coverage --allow-incomplete-coverage "${suites[@]}" || status=1
done
exit "$status"
