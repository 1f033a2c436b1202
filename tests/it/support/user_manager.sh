# A private `systemd --user` with its journal, in a mount namespace of its own. Needs root.
#
#   start UID DIR   becomes the supervisor: sets up, runs both, ends them when its standard input ends
#   journal UID, manager UID DIR   become what the supervisor runs
#   clean UID       ends what a killed run has left, and removes its control groups
#   enter UID PID DIR PROGRAM...   becomes PROGRAM, run by the user beside the supervisor PID, in the directory DIR
set -eu
action=$1 uid=$2
name=relay-$uid
slice=user.slice/user-$uid.slice

# systemd's own hierarchy and the unified one where both are mounted, else the unified one alone.
if [ -d /sys/fs/cgroup/systemd ]; then roots='/sys/fs/cgroup/systemd /sys/fs/cgroup/unified'; else roots=/sys/fs/cgroup; fi

join() { # GROUP: moves this process into a control group of the slice
    for root in $roots; do
        [ -d "$root" ] || continue
        # Another manager may be removing the parent, which is empty for a moment.
        for _ in 1 2 3; do mkdir -p "$root/$slice/$1" 2>/dev/null && break; sleep 0.05; done
        echo $$ > "$root/$slice/$1/cgroup.procs"
    done
}

pids() { # [GROUP]: every process of the slice but those of GROUP
    for root in $roots; do
        [ -d "$root/$slice" ] || continue
        find "$root/$slice" -name cgroup.procs -not -path "*/${1:-none}/*" -exec cat {} + 2>/dev/null || true
    done | sort -u
}

kill_all() { # [GROUP]: ends every process of the slice but those of GROUP
    for _ in $(seq 200); do
        left=$(pids "${1:-}")
        [ -n "$left" ] || return 0
        kill -KILL $left 2>/dev/null || true
        sleep 0.01
    done
    echo "processes of $name do not end:" $left >&2
    return 1
}

start() {
    dir=$1
    join supervisor.scope
    mount --make-rprivate /
    # The user exists in this namespace only.
    { grep -v "^$name:" /etc/passwd; echo "$name:x:$uid:$uid::$dir/home:/bin/sh"; } > "$dir/passwd"
    { sed "s/^\(systemd-journal:.*:\)$/\1$name/; s/^\(systemd-journal:.*[^:]\)$/\1,$name/" /etc/group; echo "$name:x:$uid:"; } > "$dir/group"
    mount --bind "$dir/passwd" /etc/passwd
    mount --bind "$dir/group" /etc/group
    chown "$uid:$uid" "$dir/home"
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/systemd/system /run/systemd/journal /run/systemd/journald.conf.d /run/lock /run/log/journal
    mkdir -p "/run/user/$uid"
    chgrp systemd-journal /run/log/journal
    chmod 2755 /run/log/journal
    printf '[Journal]\nReadKMsg=no\nStorage=volatile\nRateLimitIntervalSec=0\n' > /run/systemd/journald.conf.d/test.conf
    chown "$uid:$uid" "/run/user/$uid"
    chmod 700 "/run/user/$uid"

    sh "$dir/script" journal "$uid" >/dev/null 2>"$dir/journald.log" &
    for _ in $(seq 200); do [ -S /run/systemd/journal/stdout ] && break; sleep 0.05; done
    [ -S /run/systemd/journal/stdout ] || { echo "no journal: $(cat "$dir/journald.log")" >&2; exit 1; }

    sh "$dir/script" manager "$uid" "$dir/home" >/dev/null 2>"$dir/manager.log" &
    echo ready
    # Ends when the test drops its end of the pipe, or dies.
    read -r _ || true
    kill_all supervisor.scope
}

journal() {
    join journal.scope
    exec /lib/systemd/systemd-journald
}

manager() {
    # From this path the journal reads that an entry belongs to a unit of the user's manager.
    join "user@$uid.service"
    for root in $roots; do [ -d "$root" ] && chown -R "$uid:$uid" "$root/$slice/user@$uid.service"; done
    cd "$1"
    exec setpriv --reuid "$uid" --regid "$uid" --init-groups /lib/systemd/systemd --user --log-target=journal
}

clean() {
    kill_all
    for root in $roots; do
        [ -d "$root/$slice" ] || continue
        find "$root/$slice" -depth -type d -exec rmdir {} +
        rmdir "$root/user.slice" 2>/dev/null || true
    done
}

enter() {
    pid=$1 directory=$2
    shift 2
    join session.scope
    exec nsenter --mount="/proc/$pid/ns/mnt" setpriv --reuid "$uid" --regid "$uid" --init-groups \
        sh -c 'cd "$0" && exec "$@"' "$directory" "$@"
}

shift 2
case $action in
    start | journal | manager | clean | enter) "$action" "$@" ;;
    *) exit 2 ;;
esac
