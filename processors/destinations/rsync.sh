# The other side of the destination "rsync": POSIX sh and coreutils, run over ssh; nothing is installed there.
#
#   probe ROOT ANCHOR CREATE   is the place there, may we write
#   stat ROOT                  stdin: paths. For each that is there: size, sha256, path
#   check ROOT                 stdin: sha256. Are staged files on the disk, and what they are called; wrong ones go
#   commit ROOT                stdin: sha256 and path. Gives staged files their names, in this order
set -eu
export LC_ALL=C
umask 002

verb=$1 root=$2
staged=$root/.episoded/staged

say_no() { # code of the failure, what it is about
    printf '%s %s\n' "$1" "$2"
    exit 9
}

digest() {
    sha256sum <"$1" | cut -c1-64
}

probe() { # the folder that must exist; whether the rest may be made
    for tool in rsync sha256sum; do command -v $tool >/dev/null || say_no tool_missing $tool; done
    [ -d "$1" ] || say_no folder_missing "$1"
    [ "$2" = yes ] || [ -d "$root" ] || say_no folder_missing "$root"
    mkdir -p "$staged"
    : >"$staged/trial-$$"
    rm "$staged/trial-$$"
}

stat_all() {
    while IFS= read -r path; do
        [ ! -f "$root/$path" ] || printf '%s %s %s\n' "$(stat -Lc %s "$root/$path")" "$(digest "$root/$path")" "$path"
    done
}

check() {
    while IFS= read -r name; do
        sync "$staged/$name" 2>/dev/null || true
        [ -f "$staged/$name" ] && [ "$(digest "$staged/$name")" = "$name" ] || {
            rm -f "$staged/$name"
            echo "$name"
        }
    done
}

commit() {
    list=$staged/commit-$$
    trap 'rm -f "$list"' EXIT
    cat >"$list"
    while IFS= read -r line; do
        sum=${line%% *} path=${line#* }
        target=$root/$path
        mkdir -p "$(dirname "$target")"
        if [ -f "$staged/$sum" ]; then
            give "$sum" "$target"
        elif [ ! -f "$target" ] || [ "$(digest "$target")" != "$sum" ]; then
            say_no not_staged "$path"
        fi
    done <"$list"
    cut -d' ' -f1 "$list" | while IFS= read -r sum; do rm -f "$staged/$sum"; done
    date -u +%Y-%m-%dT%H:%M:%SZ
}

give() { # a name to a staged file; one that gets several is copied
    if [ "$(grep -c "^$1 " "$list")" -gt 1 ]; then
        cp --reflink=auto "$staged/$1" "$staged/copy-$$"
        sync "$staged/copy-$$"
        mv -T "$staged/copy-$$" "$2"
    else
        mv -T "$staged/$1" "$2"
    fi
    sync "$(dirname "$2")"
}

case $verb in
probe) probe "$3" "$4" ;;
stat) stat_all ;;
check) check ;;
commit) commit ;;
esac
