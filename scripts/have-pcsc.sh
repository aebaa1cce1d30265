#!/bin/sh
# Succeed when this machine can run the vpcd rig; otherwise say what is missing and fail. Usage: have-pcsc.sh PYTHON
set -eu

PATH="$PATH:/usr/sbin:/sbin"
missing=""
command -v pcscd >/dev/null 2>&1 || missing="$missing pcscd"
find /usr/lib/pcsc /usr/local/lib/pcsc -name 'libifdvpcd*' 2>/dev/null | grep -q . || missing="$missing vsmartcard-vpcd"
"$1" -c 'import smartcard.scard' 2>/dev/null || missing="$missing pyscard"
[ -z "$missing" ] || { echo "note: the PC/SC path is left out; missing:$missing (make setup-pcsc as root installs them)" >&2; exit 1; }
