#!/bin/sh
# Install npm packages that tests use, each pinned. Usage: install-npm.sh FOLDER NAME@VERSION...
# They go into FOLDER/node_modules, which no one else reads and git ignores; no script of a package is run.
# Where there is no npm and none can be had, it says so and succeeds: the tests that need the packages say so themselves.
set -eu

folder=$1
shift
# A node that did not come from Debian brings its own npm, which Debian's package would conflict with.
command -v npm >/dev/null 2>&1 || "$(dirname "$0")/install-system.sh" npm
if ! command -v npm >/dev/null 2>&1; then
    echo "note: no npm, so these packages are missing: $*" >&2
    exit 0
fi

missing=""
for package in "$@"; do
    name=${package%@*}
    manifest="$folder/node_modules/$name/package.json"
    grep -q "\"version\": \"${package##*@}\"" "$manifest" 2>/dev/null || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing npm packages:$missing"
mkdir -p "$folder"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086  # the list is meant to be split
if ! npm install --prefix "$folder" --save-exact --ignore-scripts --no-audit --no-fund --no-update-notifier \
    $missing </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    echo "error: npm could not install:$missing (its output is above)" >&2
    exit 1
fi
