#!/bin/sh
# Write constraints.txt anew: what a fresh environment with every extra resolves to. Usage: renew-constraints.sh PYTHON
set -eu

venv=build/constraints-venv
rm -rf "$venv"
"$1" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --editable '.[dev,pcsc,usb]'
{
    echo "# Exact versions of everything a cardbench environment holds, all extras included. Renew with: make constraints"
    "$venv/bin/python" -m pip freeze --exclude-editable --exclude pip --exclude setuptools --exclude cardbench
} >build/constraints.txt
if grep -vE '^#|^[A-Za-z0-9._-]+==[^ ]+$' build/constraints.txt; then
    echo "error: the lines above are no plain name==version pins; constraints.txt is left as it was" >&2
    exit 1
fi
mv build/constraints.txt constraints.txt
rm -rf "$venv"
