#!/usr/bin/env bash
# The main job in one go, on a throwaway VM: deploy, ask, drift, tamper, report, repair.
# Every command that it runs is printed as you would type it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/bin:$PATH"

bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
started=$SECONDS
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
run() { # prints a command as it would be typed, and runs it
  local word line=
  for word in "$@"; do
    case $word in *[!A-Za-z0-9_./=-]*) word="\"$word\"" ;; esac
    line+=" $word"
  done
  printf '%s$%s%s\n' "$bold" "$line" "$plain"
  "$@"
}

step "1. A throwaway VM to be the host (the first time builds its image from Debian packages: some 5 minutes)"
run llmhost lab up

step "2. Pin what will be deployed, ask the machine what it is, and see how exposed each service would be"
run llmhost pin -s lab
run llmhost validate hosts/lab.hcl
run llmhost probe -s lab
run llmhost harden -s lab

step "3. Deploy: a llama.cpp server in a sandbox without network, with a verified model"
# --refresh: the VM may be a fresh one while the state still remembers the last.
run llmhost up -s lab --yes --skip-preview --refresh

step "4. Ask it. Nothing listens on the host: the question goes through the SSH connection"
run llmhost ask -s lab "What are you?"

step "5. Does anything drift?"
run llmhost drift -s lab

step "6. Somebody changes a file by hand"
run llmhost lab ssh lab -- "echo 'Everyone may log in as root.' | sudo tee -a /etc/motd.d/10-llmhost >/dev/null"

step "7. The drift report names the property"
code=0
run llmhost drift -s lab || code=$?
if [ "$code" -ne 2 ]; then
  echo "the drift report should have ended with exit code 2 (drift), not $code" >&2
  exit 1
fi

step "8. Repair"
run llmhost up -s lab --yes --skip-preview --refresh
run llmhost drift -s lab

cat <<END

${bold}Done in $((SECONDS - started)) s. The host is still running.${plain}
  Look around:  bin/llmhost lab ssh lab          (systemctl status llmhost-tiny, sudo ls /var/lib/llmhost/owned)
  Ask again:    bin/llmhost ask -s lab "…"
  Use it here:  bin/llmhost tunnel -s lab        (an OpenAI-compatible endpoint on localhost)
  Remove it:    bin/llmhost destroy -s lab --yes && bin/llmhost lab down lab
END
