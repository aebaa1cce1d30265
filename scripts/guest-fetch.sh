#!/bin/sh
# Get what the test guest boots (tests/guest): Debian's generic kernel and udev, unpacked and packed anew, nothing installed.
# Usage: guest-fetch.sh PYTHON DIRECTORY. Where packages cannot be had it says so and succeeds: the tests say why they skip.
set -eu

python=$(command -v "$1")
case $python in /*) ;; *) python=$PWD/$python ;; esac
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v apt-get >/dev/null 2>&1 || [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ]; then
    echo "note: no Debian on amd64, so no guest kernel was fetched; tests that need a guest skip" >&2
    exit 0
fi

mkdir -p "$2/packages"
directory=$(cd "$2" && pwd)
cd "$directory/packages"
work=$(mktemp -d "$directory/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
fetch() {
    kernel=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
    [ -n "$kernel" ] && apt-get -q -o Acquire::Retries=3 download "$kernel" udev >"$work/log" 2>&1 </dev/null
}
if ! fetch; then
    [ "$(id -u)" -ne 0 ] || apt-get -q -o Acquire::Retries=3 update >/dev/null 2>&1 </dev/null || true
    if ! fetch; then
        cat "$work/log" >&2 2>/dev/null || true
        echo "note: apt-get could not download a kernel (linux-image-amd64) and udev; tests that need a guest skip" >&2
        exit 0
    fi
fi
echo "unpacking $kernel for the test guest"
newest() { find . -name "$1_*.deb" | sort -V | tail -n 1; }
for package in "$(newest "$kernel")" "$(newest udev)"; do dpkg -x "$package" "$work/root"; done
"$python" "$here/guest-pack.py" "$work/root" "$directory"
