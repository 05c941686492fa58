#!/bin/sh
# The boot of a systemd that is PID 1 of the namespaces this runs in (mounts, processes, IPC, host name, cgroups), on a
# root of its own: an overlay over the machine's, kept in memory, so that nothing of the machine is written. Its own are
# /run, /tmp, /dev and /etc/systemd/system: none of the machine's services starts, and no device is reached.
#   rig_boot.sh DIRECTORY DENIED SOURCE_TREE PYTHON_PREFIX PYTHON_VERSION BYTECODE PACKAGES...
# DENIED: capabilities that nobody in there has, as setpriv wants them. BYTECODE: the directory that keeps it, "" where it
# lies beside the sources.
set -eu
base=$1 denied=$2 source=$3 python=$4 version=$5 bytecode=$6
shift 6

mount -t tmpfs -o mode=0755 rig "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" rig "$base/root"
cd "$base/root"

fresh() { mkdir -p "$1" && mount -t tmpfs -o "mode=$2" rig "$1"; }
read_only() { mkdir -p "$2" && mount --bind "$1" "$2" && mount -o remount,bind,ro "$2"; }

mount -t proc proc proc
read_only proc/sys proc/sys # the network and the kernel are the machine's
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
fresh run 0755
fresh tmp 1777
fresh etc/systemd/system 0755
fresh dev 0755
fresh dev/shm 1777
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

# arbd as an operator installs it, in /opt/arbd, which ProtectHome= does not hide: an environment of this interpreter,
# whose packages are this source tree and those that it needs.
site=opt/arbd/lib/python$version/site-packages
mkdir -p opt/arbd/bin "$site"
read_only "$source" opt/source
read_only "$python" opt/python
echo /opt/source >"$site/rig.pth"
number=0
for packages; do
    number=$((number + 1))
    read_only "$packages" "opt/packages/$number"
    echo "/opt/packages/$number" >>"$site/rig.pth"
done
echo "home = /opt/python/bin" >opt/arbd/pyvenv.cfg
ln -s "/opt/python/bin/python$version" opt/arbd/bin/python
# An interpreter that was built shared looks for its library where it was installed, and then among the machine's.
mkdir -p opt/arbd/library etc/ld.so.conf.d
for library in "$python"/lib/libpython*.so*; do
    if [ -e "$library" ]; then ln -s "/opt/python/lib/${library##*/}" opt/arbd/library; fi
done
echo /opt/arbd/library >etc/ld.so.conf.d/000-rig.conf
ldconfig -r .
cat >opt/arbd/bin/arbd <<'SCRIPT'
#!/opt/arbd/bin/python
import sys

from arbd.__main__ import main

sys.exit(main())
SCRIPT
chmod 0755 opt/arbd/bin/arbd

mkdir -p etc/systemd/system.conf.d
if [ -n "$bytecode" ]; then
    mkdir opt/bytecode
    mount --bind "$bytecode" opt/bytecode
    printf '[Manager]\nDefaultEnvironment=PYTHONPYCACHEPREFIX=/opt/bytecode\n' >etc/systemd/system.conf.d/rig.conf
fi

: >etc/fstab
echo rig >etc/hostname
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
mkdir -p etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nForwardToConsole=no\n' >etc/systemd/journald.conf.d/rig.conf
cat >etc/systemd/system/rig.target <<'UNIT'
[Unit]
Description=What the tests of the units need
Requires=basic.target
After=basic.target
AllowIsolate=yes
UNIT
# Some timers look after the machine's disks; the rest is of no use here.
for unit in timers.target modprobe@.service systemd-remount-fs.service sys-kernel-debug.mount sys-kernel-tracing.mount; do
    ln -s /dev/null "etc/systemd/system/$unit"
done

pivot_root . mnt
umount -l /mnt
mount --make-rshared /
# Kernel modules, clock and network are the machine's: nobody in here may change them. rig_support.py takes the same from
# whatever it starts in here, for that does not come from this process.
exec env -i container=rig PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    setpriv "--bounding-set=$denied" \
    /lib/systemd/systemd --system --unit=rig.target --show-status=no
