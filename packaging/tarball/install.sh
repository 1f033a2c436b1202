#!/bin/sh
# Installs the programs of this folder, their manual pages and completions into a prefix, or removes them.
set -eu
export LC_ALL=C

usage() {
    cat <<'END'
./install.sh                      installs into ~/.local, for you alone
PREFIX=/usr/local ./install.sh    installs elsewhere
./install.sh --uninstall          removes what was installed; so does PREFIX/share/claude-relay/uninstall
END
}

here=$(cd "$(dirname "$0")" && pwd)
own=share/claude-relay
case ${0##*/} in
    # The copy beside the list of what was installed knows its prefix, and does the one thing.
    uninstall) action=uninstall prefix=${here%/"$own"} ;;
    *) action=install prefix=${PREFIX:-${HOME:?neither PREFIX nor HOME is set}/.local} ;;
esac
case ${1:-} in
    "") ;;
    --uninstall) action=uninstall ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
esac
case $prefix in
    /*) ;;
    *) echo "error: PREFIX is not an absolute path: $prefix" >&2; exit 2 ;;
esac
# Files, and with a slash at the end the directories that were made for them.
list=$prefix/$own/installed

# Removes what the lines of the standard input name; directories only when nothing else is in them.
remove() {
    sort -r | while IFS= read -r entry; do
        case $entry in
            ./) rmdir "$prefix" 2>/dev/null || : ;;
            */) rmdir "$prefix/$entry" 2>/dev/null || : ;;
            *) rm -f "$prefix/$entry" ;;
        esac
    done
}

if [ "$action" = uninstall ]; then
    [ -f "$list" ] || { echo "nothing was installed into $prefix by this script"; exit 0; }
    # Without its program the service would be started in vain.
    for unit in "${XDG_CONFIG_HOME:-${HOME:-/}/.config}/systemd/user/relay.service" \
        "${HOME:-/}/Library/LaunchAgents/dev.claude-relay.hub.plist"; do
        if grep -qF "$prefix/bin/relay-hub" "$unit" 2>/dev/null; then
            echo "error: $unit starts $prefix/bin/relay-hub" >&2
            echo "next: \"$prefix/bin/relayctl\" uninstall-service" >&2
            exit 1
        fi
    done
    entries=$(cat "$list")
    printf '%s\n' "$entries" | remove
    echo "removed claude-relay from $prefix"
    exit 0
fi

before=$(cat "$list" 2>/dev/null || :)
umask 022
new=$(mktemp)
trap 'rm -f "$new"' EXIT

directory() {
    [ ! -d "$prefix/$1" ] || return 0
    if [ "$1" = . ]; then
        mkdir -p "$prefix"
    else
        directory "$(dirname "$1")"
        mkdir "$prefix/$1"
    fi
    echo "$1/" >>"$new"
}

# The new file takes the name of the old one, which may be a program that runs.
place() { # MODE FROM TO
    directory "$(dirname "$3")"
    cp "$2" "$prefix/$3.new"
    chmod "$1" "$prefix/$3.new"
    mv -f "$prefix/$3.new" "$prefix/$3"
    echo "$3" >>"$new"
}

for file in $(cd "$here" && find bin share -type f); do
    case $file in
        bin/*) place 755 "$here/$file" "$file" ;;
        *) place 644 "$here/$file" "$file" ;;
    esac
done
place 755 "$here/install.sh" "$own/uninstall"
echo "$own/installed" >>"$new"
if [ -n "$before" ]; then
    # Directories that an earlier version made are still ours; files that this version has not are not.
    printf '%s\n' "$before" | sed -n '/\/$/p' >>"$new"
    printf '%s\n' "$before" | sed '/\/$/d' | { grep -vxF -f "$new" || :; } | remove
fi
sort -u "$new" >"$list"

echo "installed claude-relay into $prefix; to remove it: $prefix/$own/uninstall"
case :${PATH:-}: in
    *:"$prefix/bin":*) ;;
    *)
        echo "note: $prefix/bin is not in PATH. The file that your shell reads at its start (~/.profile, ~/.zprofile) needs:"
        echo "    export PATH=\"$prefix/bin:\$PATH\""
        ;;
esac
