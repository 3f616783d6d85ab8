# The other side of the destination "rsync": POSIX sh and coreutils, run over ssh; nothing is installed there.
#
#   probe ROOT ANCHOR CREATE   is the place there, may we write
#   stat ROOT                  stdin: paths. Sizes, then sha256s, of those that are there
#   read ROOT                  stdin: paths. Of those that are there: path and content (base64), a NUL behind each
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

probe() { # the folder that must exist; whether the rest may be made
    for tool in rsync sha256sum; do command -v $tool >/dev/null || say_no tool_missing $tool; done
    [ -d "$1" ] || say_no folder_missing "$1"
    [ "$2" = yes ] || [ -d "$root" ] || say_no folder_missing "$root"
    mkdir -p "$staged"
    : >"$staged/trial-$$"
    rm "$staged/trial-$$"
}

stat_all() { # sizes, then digests: each with its path, and a NUL behind it
    cd "$root" 2>/dev/null || return 0
    list=$(mktemp)
    trap 'rm -f "$list"' EXIT
    while IFS= read -r path; do [ ! -f "$path" ] || printf './%s\0' "$path"; done >"$list"
    xargs -0 -r stat -L --printf '%s  %n\0' <"$list"
    xargs -0 -r sha256sum -z <"$list"
}

read_all() {
    cd "$root" 2>/dev/null || return 0
    while IFS= read -r path; do
        [ ! -f "$path" ] || { printf '%s\0' "$path" && base64 -w0 <"$path" && printf '\0'; }
    done
}

check() {
    sync -f "$staged"
    cd "$staged"
    sed 's/.*/&  &/' | sha256sum --check 2>/dev/null | sed -n 's/: FAILED.*//p' | while IFS= read -r name; do
        rm -f "$name"
        echo "$name"
    done
}

commit() {
    list=$staged/commit-$$
    trap 'rm -f "$list"' EXIT
    cat >"$list"
    several=$(cut -d' ' -f1 "$list" | sort | uniq -d)
    while IFS= read -r line; do
        sum=${line%% *} path=${line#* }
        target=$root/$path
        [ -d "${target%/*}" ] || mkdir -p "${target%/*}"
        if [ -f "$staged/$sum" ]; then
            give "$sum" "$target"
        else
            echo "$sum  $target" | sha256sum --check --status 2>/dev/null || say_no not_staged "$path"
        fi
    done <"$list"
    for sum in $several; do rm -f "$staged/$sum"; done
    date -u +%Y-%m-%dT%H:%M:%SZ
}

give() { # a name to a staged file; one that gets several is copied
    case $several in
    *"$1"*)
        cp --reflink=auto "$staged/$1" "$staged/copy-$$"
        sync "$staged/copy-$$"
        mv -T "$staged/copy-$$" "$2"
        ;;
    *) mv -T "$staged/$1" "$2" ;;
    esac
    sync "${2%/*}"
}

case $verb in
probe) probe "$3" "$4" ;;
stat) stat_all ;;
read) read_all ;;
check) check ;;
commit) commit ;;
esac
