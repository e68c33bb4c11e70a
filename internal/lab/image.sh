# A customize hook of mmdebstrap: turns its root file system ($1) into a lab host's disk.
# In: LAB_AUTHORIZED_KEY, LAB_INIT and LAB_DISK_SIZE; the engine's archive on descriptor 9.
# Out: a tar of kernel, initrd, host key and disk on descriptor 9.
# mmdebstrap calls it as root, or as root of a user namespace, which may open none of the
# calling user's files.
set -eu
R=$1
W=$R/mnt/lab
mkdir -p "$W/out" "$W/kernel" "$W/initrd/bin" "$W/initrd/proc" "$W/initrd/dev" "$W/initrd/new" "$W/view"

# The kernel: unpacked, not installed, since its package would build an initrd for minutes.
KERNEL=$(chroot "$R" apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
(cd "$W" && chroot "$R" sh -c 'cd /mnt/lab && apt-get -q download "$1"' sh "$KERNEL")
dpkg-deb -x "$W/$KERNEL"_*.deb "$W/kernel"
VERSION=${KERNEL#linux-image-}
MODULES=$W/kernel/usr/lib/modules
[ -d "$MODULES" ] || MODULES=$W/kernel/lib/modules
mkdir -p "$R/usr/lib/modules"
cp -a "$MODULES/$VERSION" "$R/usr/lib/modules/"
chroot "$R" depmod "$VERSION"
cp "$W/kernel/boot/config-$VERSION" "$R/boot/"
cp "$W/kernel/boot/vmlinuz-$VERSION" "$W/out/vmlinuz"

# The initrd: busybox and the drivers of the disk.
cp /bin/busybox "$W/initrd/bin/busybox"
ln -s busybox "$W/initrd/bin/sh"
for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
  file=$(find "$MODULES" -name "$module.ko*" | head -n 1)
  case $file in
  '') ;; # built in
  *.xz) xz -dc "$file" >"$W/initrd/$module.ko" ;;
  *.zst) zstd -q -dc "$file" >"$W/initrd/$module.ko" ;;
  *) cp "$file" "$W/initrd/$module.ko" ;;
  esac
done
printf '%s' "$LAB_INIT" >"$W/initrd/init"
chmod 755 "$W/initrd/init"
(cd "$W/initrd" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 >"$W/out/initrd")

# The machine.
echo lab >"$R/etc/hostname"
printf '127.0.0.1 localhost lab\n::1 localhost\n' >"$R/etc/hosts"
printf '/dev/vda / ext4 defaults,noatime 0 0\n' >"$R/etc/fstab"
mkdir -p "$R/etc/systemd/network" "$R/etc/systemd/journald.conf.d"
printf '[Match]\nType=ether\nKind=!*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' >"$R/etc/systemd/network/10-lab.network"
printf '[Journal]\nStorage=volatile\n' >"$R/etc/systemd/journald.conf.d/lab.conf"
chroot "$R" systemctl -q enable systemd-networkd ssh nginx auditd apparmor containerd docker
# No network to wait for or to take the time from, and no housekeeping that a resumed host,
# whose clock jumps, would catch up with at once.
for unit in systemd-networkd-wait-online.service systemd-timesyncd.service systemd-firstboot.service systemd-binfmt.service \
  e2scrub_reap.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
  logrotate.timer man-db.timer; do
  chroot "$R" systemctl -q disable "$unit" 2>/dev/null || true
done
chroot "$R" systemctl -q mask systemd-networkd-wait-online.service systemd-firstboot.service systemd-binfmt.service e2scrub_reap.service
rm -f "$R/usr/lib/systemd/system-generators/systemd-ssh-generator"

# SSH and accounts.
rm -f "$R"/etc/ssh/ssh_host_*
chroot "$R" ssh-keygen -q -A
cut -d ' ' -f 1,2 "$R/etc/ssh/ssh_host_ed25519_key.pub" >"$W/out/host_key"
# 10.0.2.2 is every client: a test's refused logins must not lock out the others.
cat >"$R/etc/ssh/sshd_config.d/lab.conf" <<'END'
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
PerSourcePenaltyExemptList 10.0.2.2
Match User plain
    PasswordAuthentication yes
END
chroot "$R" useradd -m -s /bin/bash -u 1500 ops
chroot "$R" useradd -m -s /bin/bash -u 1501 -G sudo plain
echo 'plain:lab' | chroot "$R" chpasswd
for home in root home/ops; do
  mkdir -p -m 700 "$R/$home/.ssh"
  printf '%s\n' "$LAB_AUTHORIZED_KEY" >"$R/$home/.ssh/authorized_keys"
  chmod 600 "$R/$home/.ssh/authorized_keys"
done
chroot "$R" chown -R ops:ops /home/ops/.ssh
echo 'ops ALL=(ALL) NOPASSWD:ALL' >"$R/etc/sudoers.d/ops"
chmod 440 "$R/etc/sudoers.d/ops"
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$R/etc/machine-id"
echo >>"$R/etc/machine-id"

# The engine, as it would be after a deployment.
mkdir -p "$R/opt/llama.cpp"
zstd -q -dc <&9 | tar -x --numeric-owner -C "$R/opt/llama.cpp"

# What only the build needed. Nothing of the building machine stays.
rm -rf "$R"/var/cache/apt/* "$R"/var/lib/apt/lists/* "$R"/etc/apt/sources.list "$R"/etc/apt/sources.list.d/* \
  "$R"/etc/apt/apt.conf.d/99mmdebstrap "$R"/etc/resolv.conf "$R"/var/log/*.log "$R"/var/log/apt

# The disk. The view is the root without what is mounted on it, and without this folder.
truncate -s "$LAB_DISK_SIZE" "$W/disk.img"
mount --bind "$R" "$W/view"
mount -t tmpfs tmpfs "$W/view/mnt"
mke2fs -q -t ext4 -F -E lazy_itable_init=1,lazy_journal_init=1 -m 0 -L root -d "$W/view" "$W/disk.img"
umount "$W/view/mnt"
umount "$W/view"
qemu-img convert -f raw -O qcow2 "$W/disk.img" "$W/out/disk.qcow2"
tar -C "$W/out" -cf - vmlinuz initrd host_key disk.qcow2 >&9
rm -rf "$W"
