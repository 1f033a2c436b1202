# What the scripts of this folder have in common; they source it in the root of the repository.
# shellcheck shell=bash
export LC_ALL=C TZ=UTC
# An & in a replacement is itself; bash before 5.2 knows nothing else.
shopt -u patsub_replacement 2>/dev/null || :

# Returns the value of a key of the section [package] in Cargo.toml; nothing where it has none.
package() {
    sed -n "/^\[package\]/,/^\$/s/^$1 *= *\"\(.*\)\"/\1/p" Cargo.toml
}

# Returns a column of packaging/platforms for a target: 2 deb, 3 rpm, 4 npm.
called() {
    awk -v target="$1" -v column="$2" '$1 == target { print $column }' packaging/platforms
}

# Replaces @NAME@ by the value of each NAME=VALUE; a line whose value is empty goes.
fill() {
    local text name value
    text=$(cat)
    for pair in "$@"; do
        name=${pair%%=*} value=${pair#*=}
        [ -n "$value" ] || text=$(grep -v "@$name@" <<<"$text")
        text=${text//@$name@/$value}
    done
    printf '%s\n' "$text"
}

# Packs a folder as a tar.gz, the same bytes for the same content.
pack() { # FOLDER FILE
    local owner=(--owner=0 --group=0 --numeric-owner)
    tar --version | grep -q GNU || owner=(--uid 0 --gid 0 --uname root --gname root)
    stamp "$1"
    (cd "$(dirname "$1")" && find "$(basename "$1")" | sort | tar -cf - "${owner[@]}" --no-recursion -T -) | gzip -9n >"$2"
}

# Gives everything in a folder the time of the commit.
stamp() {
    find "$1" -exec touch -h -t "$(git log -1 --date=format-local:%Y%m%d%H%M.%S --format=%cd)" {} +
}

version=$(package version)
repository=$(package repository)
target_directory=${CARGO_TARGET_DIR:-$PWD/target}
packages=$target_directory/packages
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
