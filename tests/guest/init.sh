#!/bin/busybox sh
# The test guest's first program: modules, file systems, then the agent as process 1 on the host's own root.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
for module in $($b cat /modules/order); do
    $b insmod /modules/$module.ko || echo "guest: module $module does not load"
done
option() { $b sed -n "s/.* guest\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
plan9() { $b mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$2" "$1" "$3"; }
plan9 host ro,cache=loose /lower || { echo "guest: the host's root does not mount"; exit 1; }
$b mount -t tmpfs tmpfs /upper && $b mkdir /upper/data /upper/work &&
    $b mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /host ||
    { echo "guest: no overlay"; exit 1; }
for place in tmp run var/tmp; do $b mount -t tmpfs -o mode=1777 tmpfs /host/$place; done
home=$(option home)
case "$home" in /tmp/*|/run/*|/var/tmp/*)  # the tree itself lies in a place that has just been hidden: it gets an overlay of its own
    $b mkdir -p "/host$home" /upper/home /upper/home-work
    $b mount -t overlay -o "lowerdir=/lower$home,upperdir=/upper/home,workdir=/upper/home-work" overlay "/host$home" ||
        echo "guest: $home does not mount" ;;
esac
$b mount -t devtmpfs devtmpfs /host/dev
$b mkdir -p /host/dev/pts /host/dev/shm
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /host/dev/pts
$b mount -t tmpfs -o mode=1777 tmpfs /host/dev/shm
$b mkdir -p "/host$(option share)"
plan9 share rw,cache=none "/host$(option share)" || { echo "guest: the share does not mount"; exit 1; }
$b ifconfig lo 127.0.0.1 up
$b hostname guest
python=$(option python) agent=$(option agent)
$b mount --move /proc /host/proc
$b mount --move /sys /host/sys
exec $b switch_root -c /dev/console /host "$python" -I -S "$agent"
