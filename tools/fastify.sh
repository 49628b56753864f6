#!/usr/bin/env bash
# npm run fastify -- version... [folder or suite...]
# Runs suites (the fast ones, unless folders or suites are named: path, path/once.ts) on other versions of Fastify, in
# the form that npm accepts after an @: 5.11.3, 6.0.0-alpha.4. They run in a copy of the project that is compiled once
# and removed at the end. Fastify comes from the npm registry; nothing else in the copy can resolve its dependencies.
set -uo pipefail
cd "$(dirname "$0")/.."

versions=()
suites=()
for word in "$@"; do
  if [[ $word =~ ^[0-9] ]]; then versions+=("$word"); else suites+=("$word"); fi
done
[ ${#versions[@]} -gt 0 ] || { echo 'Name a version of Fastify, such as 5.11.3' >&2; exit 2; }
[ ${#suites[@]} -gt 0 ] || suites=(unit providers path stores security package)
suites=("${suites[@]/%.ts/.js}")

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/tree/node_modules"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$folder/tree"
ln -s "$PWD"/node_modules/.bin "$PWD"/node_modules/* "$folder/tree/node_modules"
cd "$folder/tree"
npm run -s compile || exit 1

status=0
for version in "${versions[@]}"; do
  rm -rf "$folder/install" node_modules/fastify
  npm install --silent --no-audit --no-fund --prefix "$folder/install" "fastify@$version" || { status=1; continue; }
  mv "$folder/install/node_modules/fastify" node_modules
  mkdir -p node_modules/fastify/node_modules
  cp -r "$folder/install/node_modules/." node_modules/fastify/node_modules
  echo "# Fastify $(node -p 'require("fastify/package.json").version')"
  node test/support/runner.js "${suites[@]/#/.built/test/}" || status=1
done
exit "$status"
