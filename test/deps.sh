#!/usr/bin/env bash
# Installs what the tests and the demo need, from the distribution's packages, and says so first.
set -euo pipefail

# command, package, why
needs=(
  "qemu-system-x86_64 qemu-system-x86 the_throwaway_VM"
  "qemu-img qemu-utils its_disk_overlays"
  "mmdebstrap mmdebstrap its_root_file_system"
  "mke2fs e2fsprogs its_disk_image"
  "zstd zstd the_cached_image"
  "cpio cpio its_initial_ramdisk"
  "busybox busybox-static its_initial_ramdisk"
  "sshd openssh-server SSH_tests_on_loopback"
  "ssh openssh-client the_user's_own_ssh_configuration"
  "systemd-analyze systemd exposure_scores_and_unit_verification"
)
packages=()
for need in "${needs[@]}"; do
  read -r command package why <<<"$need"
  PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null && continue
  echo "needed: $package (${why//_/ })"
  packages+=("$package")
done
[ ${#packages[@]} -eq 0 ] && exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
  sudo=sudo
  command -v sudo >/dev/null || { echo "run as root: apt-get install --no-install-recommends ${packages[*]}" >&2; exit 1; }
fi
echo "installing: ${packages[*]}"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
