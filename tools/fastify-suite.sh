#!/usr/bin/env bash
# npm run fastify-suite -- [test file...]
# Runs the test suite of the installed Fastify version (its test/*.test.js, unless files are named) three times:
# unchanged, with plain plugins registered first on every instance, and with our plugins registered first. The plain ones
# have the same structure as ours: one with a POST route, and one that decorates the host itself. Fails if a test fails
# with ours but not with the plain ones. Takes some minutes, and installs hundreds of packages.
set -uo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
version=$(node -p 'require("fastify/package.json").version')
npx --no-install esbuild plugins/index.ts --bundle --platform=node --log-level=error --outfile="$folder/plugins.cjs" || exit 1
archive=$(npm pack --silent --pack-destination "$folder" "fastify@$version") &&
  tar -xzf "$folder/$archive" -C "$folder" && cd "$folder/package" &&
  npm install --silent --no-audit --no-fund --ignore-scripts || exit 1

cat >"$folder/plain.cjs" <<'END'
module.exports = (app) => {
  app.register(async (scope) => { scope.post('/first', async () => 'first') })
  app.register(Object.assign(async (host) => { host.decorate('first', true) }, {
    [Symbol.for('skip-override')]: true, [Symbol.for('fastify.display-name')]: 'first'
  }))
}
END
cat >"$folder/ours.cjs" <<'END'
const ours = require('./plugins.cjs')
const secret = 'r3jie4nx84tmx7u064biudpn85oyblch'
const apiKeys = { key: 'zhLBEyqvJiMcj1Mp9wQW5vA9SKQh7bZbhWSi4UhE4/U=' }
const options = { prefix: '/first' }
module.exports = (app) => {
  app.register(ours.altdentifierPlugin, { ...options, secret, handleEvent () {} })
  app.register(ours.aghanimPlugin, { ...options, secret, verifyPlayer: () => null })
  app.register(ours.identityValidationPlugin, { ...options, apiKeys, handleSession () {} })
  app.register(ours.humandetectPlugin, { ...options, apiKey: 'key', baseUrl: 'https://localhost', handleResult () {} })
}
END

run () { # name of the run, files
  local name=$1
  shift
  npx --no-install borp --concurrency=2 --timeout=300000 --reporter=tap "$@" >"$folder/$name.tap" 2>&1
  grep -E '^ *not ok' "$folder/$name.tap" | sed -E 's/^ *not ok [0-9]+ - //; s/ # .*//' | sort -u >"$folder/$name.failed"
  echo "# $name: $(grep -E '^# (tests|pass|fail|skipped) ' "$folder/$name.tap" | tr -d '#' | tr '\n' ',')"
  sed 's/^/    /' "$folder/$name.failed"
}

run as-it-is "$@"
sed -i 's/^function fastify (serverOptions)/function create (serverOptions)/' fastify.js
cat >>fastify.js <<END
function fastify (options) {
  const app = create(options)
  require(process.env.FIRST)(app)
  return app
}
END
FIRST="$folder/plain.cjs" run plain "$@"
FIRST="$folder/ours.cjs" run ours "$@"
only=$(comm -13 "$folder/plain.failed" "$folder/ours.failed")
[ -z "$only" ] || { printf '# only with ours:\n%s\n' "$only"; exit 1; }
