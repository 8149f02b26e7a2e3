#!/usr/bin/env bash
# Installs what requirements.lock names, and this project, into .venv. Does nothing when nothing changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$PWD/.venv
stamp=$venv/.installed

usable() { # Python 3.11 or newer? (A version manager's shim may exist and still not run.)
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1
}

find_python() {
  local name
  for name in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13; do
    if usable "$name"; then
      echo "$name"
      return
    fi
  done
  echo "Penstock needs Python 3.11 or newer, and none was found${PYTHON:+ (PYTHON=$PYTHON is none)}." >&2
  echo "Install one (Debian 12: apt-get install python3), or name it: make setup PYTHON=/path/to/python3.11" >&2
  return 1
}

fingerprints() { # two words: what .venv was made for (it can neither move nor change its Python), and what is in it
  "$python" - "$venv" requirements.lock pyproject.toml tools/setup.sh <<'PY'
import hashlib, pathlib, sys
contents = b"".join(pathlib.Path(name).read_bytes() for name in sys.argv[2:])
print(hashlib.sha256((sys.version + sys.argv[1]).encode()).hexdigest(), hashlib.sha256(contents).hexdigest())
PY
}

create_venv() {
  rm -rf "$venv"
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$venv"
  elif "$python" -m pip --version >/dev/null 2>&1; then # Debian without python3-venv, but with python3-pip
    "$python" -m venv --without-pip "$venv"
    "$python" -m pip --python "$venv/bin/python" install -qq pip
  elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "This Python cannot make virtual environments: installing Debian's python3-venv."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    "$python" -m venv "$venv"
  else
    echo "$python cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2
    return 1
  fi
}

python=$(find_python)
wanted=$(fingerprints)
installed=$(cat "$stamp" 2>/dev/null || true)
if [ "$installed" = "$wanted" ] && usable "$venv/bin/python"; then
  exit 0
fi

echo "Setting up .venv with $("$python" --version): about a minute, and only when requirements.lock changes."
rm -f "$stamp" # an interrupted installation starts over
if [ "${installed% *}" != "${wanted% *}" ] || ! usable "$venv/bin/python"; then
  create_venv
fi
pip=("$venv/bin/python" -m pip -qq --disable-pip-version-check) # -qq: errors only
"${pip[@]}" install --require-hashes --no-deps -r requirements.lock
"${pip[@]}" install --no-build-isolation --no-deps --editable .
echo "$wanted" >"$stamp"
