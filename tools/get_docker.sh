#!/usr/bin/env bash
# The tests of the deployer `docker` need an engine: one that answers, or Debian's, which they start themselves (only root can).
# Where neither can be had those tests skip and say so: no reason to stop all others.
set -euo pipefail
has() { command -v "$1" >/dev/null; }
docker version >/dev/null 2>&1 && has docker-registry && exit 0
has dockerd && has iptables && has docker && has docker-registry && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's docker.io and docker-registry: half a minute, and only once."
  install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
  apt-get update -qq
  # Since Debian 13 the command is a package of its own.
  install docker.io docker-cli iptables docker-registry 2>/dev/null || install docker.io iptables docker-registry ||
    echo "apt-get cannot install docker.io: the deployer \`docker\` will NOT BE TESTED." >&2
else
  echo "There is no Docker engine, and only root could install one: the deployer \`docker\` will NOT BE TESTED." >&2
fi
