#!/usr/bin/env bash
# The tests of the deployer `docker` need an engine: one that answers, or Debian's, which they start themselves (only root can).
# Where neither can be had those tests skip and say so: no reason to stop all others.
set -euo pipefail
docker version >/dev/null 2>&1 && exit 0
command -v dockerd >/dev/null && command -v iptables >/dev/null && command -v docker >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's docker.io: half a minute, and only once."
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io docker-cli iptables >/dev/null 2>&1 ||
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null ||
    echo "apt-get cannot install docker.io: the deployer \`docker\` will NOT BE TESTED." >&2
else
  echo "There is no Docker engine, and only root could install one: the deployer \`docker\` will NOT BE TESTED." >&2
fi
