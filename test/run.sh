#!/usr/bin/env bash
# Compiles everything once, which checks the types, then runs the compiled suites.
#   test/run.sh            npm test: lint and the fast suites, in all folders except integration and hosts
#   test/run.sh NAME...    npm run test:NAME: the suites of these folders, or single suites such as path/once.ts
#   test/run.sh all        npm run test:all: lint and every suite, with 100 % coverage
set -uo pipefail
cd "$(dirname "$0")/.."

fast=(unit providers path stores security package)
rooms=("$@")
case "${rooms[*]}" in
  '') rooms=("${fast[@]}") ;;
  all) rooms=("${fast[@]}" integration hosts) ;;
esac

case " ${rooms[*]} " in
  *' integration'*) npm run -s bench:compile || exit 1 ;; # installs the programs that check the tarball
  *) npm run -s compile || exit 1 ;;
esac

lint=0
if [ $# -eq 0 ] || [ "$*" = all ]; then # runs beside the suites; its output is printed at the end
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  npm run -s lint >"$log" 2>&1 &
  lint=$!
fi

rooms=("${rooms[@]/%.ts/.js}")
paths=("${rooms[@]/#/.built/test/}")
if [ "$*" = all ]; then # tap's runner measures coverage; compiled suites do not need tsx
  npx --no-install tap run --no-disable-coverage --node-arg=--max-optimized-bytecode-size=3000 "${paths[@]}"
else
  node test/support/runner.js "${paths[@]}"
fi
status=$?

if [ "$lint" -ne 0 ] && ! wait "$lint"; then
  cat "$log"
  status=1
fi
exit "$status"
