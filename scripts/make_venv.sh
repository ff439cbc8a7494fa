#!/bin/sh
# Make a virtual environment with a Python >= 3.12: python3, python3.12 … python3.14, then uv.
set -eu
venv=$1
new_enough='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))'

if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
  exit 0
fi
for python in python3 python3.14 python3.13 python3.12; do
  if "$python" -c "$new_enough" 2>/dev/null; then
    exec "$python" -m venv --clear "$venv"
  fi
done
if command -v uv >/dev/null 2>&1; then
  exec uv venv --quiet --clear --seed --python '>=3.12' "$venv"
fi
echo "Antiphon needs Python 3.12 or newer with the venv module, and none was found: install it (for example: apt install python3.12-venv, brew install python@3.12, or uv from https://docs.astral.sh/uv) and run make again." >&2
exit 1
