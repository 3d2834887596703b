/**
 * The shell scripts of the initrd. Everything that needs thought is in `guest/`; what is here cannot be there: the
 * first program, which has to become init; the last one, which runs when everything else is gone; and what the DHCP client
 * and the loading of drivers run.
 *
 * The initrd's files live in `/initramfs`, which is bound onto itself at once: as a mount of its own it can later be moved
 * to `/run/initramfs` of the machine, with the file system's process rooted in it and without copying a byte.
 */

export const INIT_SCRIPT = `#!/initramfs/bin/busybox sh
# First program of the machine: makes the file system's process, waits for its word, becomes init.
B=/initramfs/bin/busybox
$B mount -t proc -o nosuid,nodev,noexec proc /proc
$B mount -t sysfs -o nosuid,nodev,noexec sys /sys
$B mount -t devtmpfs -o mode=0755,nosuid dev /dev
exec </dev/console >/dev/console 2>&1
$B mount --bind /initramfs /initramfs
for d in proc sys dev; do $B mount --bind /$d /initramfs/$d; done
$B mkfifo /initramfs/verdict
$B chroot /initramfs /bin/busybox sh -c 'cd /; exec -a @thimble /bin/node /guest.js' 3>/initramfs/verdict &
read -r verdict </initramfs/verdict

# A link may lead to a place that is right only when this is the root.
is_there() { [ -e "$1" ] || [ -L "$1" ]; }
R=/initramfs/newroot
if [ "$verdict" = ready ] && ! is_there $R/sbin/init && ! is_there $R/usr/sbin/init; then
  echo "thimble: Cannot start the machine: the tree has no /sbin/init"
  echo "hint: publish a tree that has an init system, such as the package systemd-sysv"
  verdict=
fi
if [ "$verdict" = ready ]; then
  # Only where the operating system has none of its own.
  is_there $R/etc/resolv.conf || $B cp /initramfs/etc/resolv.conf $R/etc/resolv.conf
  # systemd-networkd and others find these in /run.
  $B mount -t tmpfs -o mode=0755,nosuid,nodev,size=20% run $R/run
  $B cp -a /initramfs/handover/. $R/run/
  $B mkdir -p $R/run/initramfs
  # In use as long as the process has /dev/fuse open; gone with it.
  for d in proc sys dev; do $B umount -l /initramfs/$d; done
  $B mount --move $R /newroot
  $B mount --move /initramfs /newroot/run/initramfs
  for d in proc sys dev; do $B mount --move /$d /newroot/$d; done
  cd /newroot
  $B mount --move . /
  exec $B chroot . /sbin/init </dev/console >/dev/console 2>&1
fi

echo "thimble: boot failed"
# The verdict tells what the machine's settings say; without one the command line is all there is.
case " $verdict $($B cat /proc/cmdline) " in
  *" thimble.rescue "* | *" thimble.rescue="*)
    echo "thimble: rescue shell; leaving it restarts the machine"
    $B setsid $B cttyhack $B sh
    ;;
  *)
    echo "thimble: restarting in 30 seconds"
    echo "hint: add thimble.rescue to the kernel command line for a shell at this point"
    $B sleep 30
    ;;
esac
$B sync
$B reboot -f
`;

export const SHUTDOWN_SCRIPT = `#!/bin/busybox sh
# Last program of the machine, run by systemd-shutdown with the old root at /oldroot. Unmounts the writable layer, then the
# file system (which ends its process), then the scratch disk: in this order nothing is in use when it goes.
B=/bin/busybox
away() { $B umount "$1" 2>/dev/null || $B umount -l "$1"; }
# The file system is below / where systemd took /run/initramfs as it was, and below the old /run where it bound it anew.
R=
if ! $B grep -q ' /ro fuse' /proc/mounts; then
  $B mount --move /oldroot/run /o
  R=/o/initramfs
fi
for m in $($B sed -n 's|^[^ ]* \\(/oldroot[^ ]*\\) .*|\\1|p' /proc/mounts | $B sort -r); do away "$m"; done
away $R/ro
# The process ends when its mount is gone; until then it holds files of the scratch disk.
n=0
while ! $B umount $R/rw 2>/dev/null && [ $n -lt 50 ]; do n=$((n + 1)); $B sleep 0.1; done
[ $n -lt 50 ] || $B mount -o remount,ro $R/rw
$B sync
echo "thimble: $1"
case $1 in
  poweroff | halt) $B $1 -f ;;
  kexec) $B kexec -e ;;
esac
$B reboot -f
`;

export const MODULES_SCRIPT = `#!/bin/busybox sh
# Loads drivers for every device that is there. One script instead of many commands: starting a program from a small shell
# takes a tenth of the time that it takes from the file system's process.
B=/bin/busybox
$B modprobe overlay || exit 1
# Drivers bring buses, and buses more devices.
for round in 1 2; do
  $B cat /sys/bus/*/devices/*/modalias 2>/dev/null | $B sort -u | $B xargs $B modprobe -a -q 2>/dev/null
done
$B ip link set lo up
exit 0
`;

export const DHCP_SCRIPT = `#!/bin/busybox sh
# Configures an interface as the DHCP server says, and writes down what it said.
B=/bin/busybox
case $1 in
  deconfig) $B ip link set "$interface" up ;;
  bound | renew)
    $B ip addr flush dev "$interface"
    $B ip addr add "$ip/\${mask:-24}" dev "$interface"
    [ -z "$mtu" ] || $B ip link set "$interface" mtu "$mtu"
    for r in $router; do
      # A gateway outside of the network (a /32 address) needs a route to itself first.
      $B ip route add default via "$r" dev "$interface" 2>/dev/null ||
        { $B ip route add "$r" dev "$interface"; $B ip route add default via "$r" dev "$interface"; }
      break
    done
    printf 'interface=%s\\nip=%s\\nrouter=%s\\ndns=%s\\ndomain=%s\\n' \\
      "$interface" "$ip" "$router" "$dns" "$domain" >"/var/leases/$interface"
    ;;
esac
`;
