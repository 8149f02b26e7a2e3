#!/usr/bin/env bash
# The tests of artifact stores in az:// need the Azurite emulator: install it into .azurite where there is npm.
# Does nothing when it is there. Without npm, or a network, those tests skip and say so: no reason to stop all others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=3.35.0
home=$PWD/.azurite
stamp=$home/.installed

if [ "$(cat "$stamp" 2>/dev/null || true)" = "$version" ]; then
  exit 0
fi
if ! command -v npm >/dev/null; then
  echo "There is no npm to install Azurite with: artifact stores in az:// will NOT BE TESTED." >&2
  exit 0
fi
echo "Installing Azurite $version into .azurite: some seconds, and only once."
rm -rf "$home" # an interrupted installation starts over
mkdir "$home"
if npm install --prefix "$home" --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
  "azurite@$version" >/dev/null; then
  echo "$version" >"$stamp"
else
  echo "npm cannot install Azurite: artifact stores in az:// will NOT BE TESTED." >&2
fi
