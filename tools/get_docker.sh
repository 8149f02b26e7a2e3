#!/usr/bin/env bash
# The tests of the deployer `docker` need an engine: one that answers, or Debian's, which they start themselves (only root can).
# Where neither can be had those tests skip and say so: no reason to stop all others. Nothing that is there is replaced.
set -euo pipefail
has() { command -v "$1" >/dev/null; }
missing=()
if ! docker version >/dev/null 2>&1; then
  has dockerd || missing+=(docker.io)
  has iptables || missing+=(iptables)
fi
has docker-registry || missing+=(docker-registry)
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! has apt-get; then
  echo "Only root could install ${missing[*]}: the deployer \`docker\` will NOT BE TESTED whole." >&2
  exit 0
fi
echo "Installing Debian's ${missing[*]}: half a minute, and only once."
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
apt-get update -qq || true
install "${missing[@]}" ||
  echo "apt-get cannot install ${missing[*]}: the deployer \`docker\` will NOT BE TESTED whole." >&2
if ! has docker; then # since Debian 13 the command is a package of its own
  install docker-cli || true
fi
