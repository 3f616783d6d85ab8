#!/bin/bash
# Boot a real systemd as process 1 of its own namespaces, run one command in it, power off. Needs root.
#
#   systemd_boot.sh SHARE COMMAND...
#
# SHARE        a folder that both sides see, inside as /share; what COMMAND prints goes to SHARE/probe.log
# SHARE/shows  lines of "MODE<tab>SOURCE<tab>TARGET": folders to show inside besides, MODE ro or rw
#
# The host is not touched: its root filesystem is the lower layer of an overlay whose upper layer is forgotten, what is
# not namespaced (kernel settings) is read-only, and none of its own services are started.
set -euo pipefail

outside() {
    # A control group of our own becomes the root of the new cgroup namespace: systemd takes all of it.
    group=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET)/episoded-test-$$
    mkdir "$group"
    trap 'find "$group" -depth -type d -exec rmdir {} +' EXIT
    local status=0
    (
        echo "$BASHPID" > "$group/cgroup.procs"
        exec unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child=KILL "$0" --inside "$@"
    ) || status=$?
    # 130: the init of the namespace was ended by its own poweroff, which the kernel reports as SIGINT.
    [ "$status" = 130 ]
}

inside() {
    local share=$1 root=$1/mount/root mode source target
    shift
    mount --make-rprivate /
    mkdir -p "$share/mount"
    mount -t tmpfs tmpfs "$share/mount"
    mkdir "$share"/mount/{root,upper,work}
    mount -t overlay -o "lowerdir=/,upperdir=$share/mount/upper,workdir=$share/mount/work" overlay "$root"
    kernel_filesystems "$root"
    show rw "$share" "$root/share"
    while IFS=$'\t' read -r mode source target; do
        show "$mode" "$source" "$root$target"
    done < "$share/shows"
    forget_the_host "$root"
    write_units "$root" "$@"
    ip link set lo up
    cd "$root"
    mkdir old
    pivot_root . old
    umount --lazy /old
    rmdir /old
    # Without it the mounts that systemd makes for a service do not reach the service.
    mount --make-rshared /
    exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=probe.service --show-status=no < /dev/null
}

kernel_filesystems() {
    local root=$1 node
    mount -t proc proc "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root"/dev/{pts,shm}
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    for node in null zero full random urandom tty; do
        touch "$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
}

show() {
    mkdir -p "$3"
    mount --bind "$2" "$3"
    mount -o "remount,bind,$1" "$3"
}

forget_the_host() {
    local root=$1
    rm -rf "$root"/etc/{systemd/system,episoded,sysusers.d,tmpfiles.d} "$root/var/lib/episoded" "$root/var/log/journal"
    mkdir -p "$root/etc/systemd/system"
    tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
}

write_units() {
    local root=$1
    shift
    printf '%s\n' '[Unit]' 'SuccessAction=poweroff-immediate' 'FailureAction=poweroff-immediate' \
        '[Service]' 'Type=oneshot' "ExecStart=$*" 'TimeoutStartSec=infinity' \
        'StandardOutput=append:/share/probe.log' 'StandardError=inherit' \
        > "$root/etc/systemd/system/probe.service"
}

if [ "$1" = --inside ]; then
    shift
    inside "$@"
else
    outside "$@"
fi
