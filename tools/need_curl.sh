#!/usr/bin/env bash
# The demo and the README trigger runs with curl: install it where that can be done without asking.
set -euo pipefail
command -v curl >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's curl."
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq curl >/dev/null
else
  echo "curl is needed to trigger runs from outside. On Debian and Ubuntu: sudo apt-get install curl" >&2
  exit 1
fi
