#!/bin/sh
# Install the named Debian packages that are missing. Usage: install-system.sh PACKAGE...
# Where that is not possible (not Debian, not root) it says what to install by hand and succeeds: what needs the
# packages says so itself.
set -eu

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    echo "note: not a Debian system, so no package was installed. Needed, by Debian's names: $*" >&2
    exit 0
fi

missing=""
for package in "$@"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "note: not root, so these packages are missing. As root: apt-get install --no-install-recommends$missing" >&2
    exit 0
fi

echo "installing system packages:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" </dev/null >>"$log" 2>&1; }
# shellcheck disable=SC2086  # the list is meant to be split
if ! { apt update && apt install --no-install-recommends $missing; }; then
    cat "$log" >&2
    echo "error: apt-get could not install:$missing (its output is above)" >&2
    exit 1
fi
