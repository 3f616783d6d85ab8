# The server's side of `episoded push`: POSIX sh, coreutils, flock. Sent over ssh; nothing is installed there.
#
#   look   DROP NAME EPISODE TREE      says what the server has of it, and makes room for what is to be staged
#   settle DROP NAME EPISODE DIGEST    checks what was staged, gives it its place, says so, marks it pending
#
# EPISODE is empty for a dataset that goes as a whole. Beside this script lie `manifest` (as sha256sum writes it),
# `lines/` (what to append to files of the dataset), `whole/` and `expected/` (files to replace, and what they must still
# be), `marker`. The staged files are in ../tree. Every step may have been done by a call that was cut off.
set -eu
export LC_ALL=C
umask 002

verb=$1 drop=$2 name=$3 episode=$4
place=$drop/$name
control=.episoded${episode:+/$episode}

say_no() { # code of the failure, what it is about
    printf '%s %s\n' "$1" "$2"
    exit 9
}

make_folder() {
    [ -d "$1" ] || {
        make_folder "$(dirname "$1")"
        mkdir "$1" 2>/dev/null || [ -d "$1" ]
        sync "$(dirname "$1")"
    }
}

look() { # folder to stage in
    [ -d "$drop" ] || say_no no_drop "$drop"
    [ -w "$drop" ] || say_no not_writable "$drop"
    for tool in rsync flock sha256sum; do command -v $tool >/dev/null || say_no tool_missing $tool; done
    if [ -f "$place/$control/received" ]; then
        [ -f "$place/$control/pending" ] && printf 'received ' || printf 'placed '
        cat "$place/$control/received"
    else
        [ ! -f "$place/$control/ready" ] || say_no foreign "$place/$control"
        echo 'absent'
        mkdir -p "$1"
    fi
    tell_shared
}

tell_shared() { # what both sides write: size and path, then the content
    for path in meta/info.json meta/stats.json; do
        [ -f "$place/$path" ] || continue
        copy=$(mktemp)
        cat "$place/$path" >"$copy" # it may be replaced between its size and its content
        printf '%s %s\n' "$(wc -c <"$copy")" "$path"
        cat "$copy"
        rm "$copy"
    done
}

settle() { # digest of the manifest
    notes=$(cd "$(dirname "$0")" && pwd)
    staging=$(dirname "$notes")
    tree=$staging/tree
    trap 'rm -rf "$notes"' EXIT
    exec 8>"$staging/lock"
    flock 8 # an earlier call may still be at work although nobody waits for it any more
    mkdir -p "$tree"
    if has_received "$1"; then
        into=$place
    else
        forget_strangers
        check
        if [ -d "$place" ]; then into=$place; else into=$tree; fi
        [ "$into" = "$tree" ] || merge "$tree" "$place"
        put "$into/$control/received" "$1"
    fi
    mkdir -p "$into/.episoded"
    (flock 9 && share) 9>>"$into/.episoded/lock"
    [ "$into" = "$place" ] || appear
    [ -f "$place/$control/pending" ] || put "$place/$control/pending" "$(cat "$notes/marker")"
    rm -rf "$staging"
    rmdir "$(dirname "$staging")" 2>/dev/null || true
    echo "confirmed $1"
    tell_shared
}

has_received() {
    [ -f "$place/$control/received" ] && [ "$(cat "$place/$control/received")" = "$1" ]
}

appear() { # a dataset that was not there before: with one rename
    sync -f "$tree"
    make_folder "$(dirname "$place")"
    mv -nT "$tree" "$place" || true
    [ ! -d "$tree" ] || say_no again "$place"
    sync "$(dirname "$place")"
}

forget_strangers() { # what an earlier call staged, and what does not belong to it any more
    cd "$tree"
    find . -type f ! -path './.episoded/*' | sed 's|^\./||' | sort >"$notes/have"
    cut -c67- "$notes/manifest" | sort >"$notes/want"
    comm -23 "$notes/have" "$notes/want" | while IFS= read -r path; do rm -f -- "$path"; done
    find . -mindepth 1 -type d -empty -delete
    cd "$notes"
}

check() { # every file, where it is by now: its bytes on the disk, and of the digest that they had when they were sent
    : >"$notes/staged" && : >"$notes/placed"
    if cmp -s "$notes/have" "$notes/want"; then
        cat "$notes/manifest" >"$notes/staged"
    else
        while IFS= read -r line; do
            path=${line#*"  "}
            if [ -e "$tree/$path" ]; then echo "$line" >>"$notes/staged"; else echo "$line" >>"$notes/placed"; fi
        done <"$notes/manifest"
    fi
    sync -f "$tree" # the filesystem at once: 600 files one by one took 2.7 s, this 0.1 s
    {
        (cd "$tree" && compare "$notes/staged")
        (cd "$place" 2>/dev/null || cd "$tree"; compare "$notes/placed")
    } >"$notes/told"
    wrong=$(sed -n 's/: FAILED.*//p' "$notes/told")
    [ -z "$wrong" ] || {
        printf '%s\n' "$wrong" | while IFS= read -r path; do rm -f -- "$tree/$path"; done
        say_no damaged "$wrong"
    }
    [ "$(grep -c ': OK$' "$notes/told")" -eq "$(wc -l <"$notes/manifest")" ] || {
        echo 'not every file was read: sha256sum was ended before it had' >&2
        exit 1
    }
}

compare() { # files here with their digests, on all cores; says of each how it is
    split -e -n "r/$(nproc)" "$1" "$1-"
    for part in "$1"-*; do
        [ ! -f "$part" ] || sha256sum --check "$part" >"$part.told" 2>/dev/null &
    done
    wait
    cat "$1"-*.told 2>/dev/null || true
}

merge() { # a folder into another: what is not there is renamed as a whole, what is there must be the same
    for entry in "$1"/* "$1"/.[!.]*; do
        [ -e "$entry" ] || continue
        target=$2/${entry##*/}
        if [ ! -e "$target" ]; then
            mv -nT "$entry" "$target" || true
            [ ! -e "$entry" ] || say_no again "$target"
        elif [ -d "$entry" ] && [ -d "$target" ]; then
            merge "$entry" "$target"
        elif cmp -s "$entry" "$target"; then
            rm -f -- "$entry"
        else
            say_no conflict "$target"
        fi
    done
    sync "$2"
}

share() { # what episodes have in common; the line that makes an episode known is the last
    for path in meta/tasks.jsonl meta/episodes_stats.jsonl; do append "$path"; done
    (cd "$notes/whole" && find . -type f | sort) | while IFS= read -r path; do
        current=$into/$path
        cmp -s "$notes/whole/$path" "$current" && continue
        if [ -f "$current" ]; then
            [ -f "$notes/expected/$path" ] || continue # the server's own stays
            cmp -s "$notes/expected/$path" "$current" || say_no again "$current"
        fi
        make_folder "$(dirname "$current")"
        replace "$notes/whole/$path" "$current"
    done
    append meta/episodes.jsonl
}

append() { # the lines that are not there yet: one of this episode, or those of the tasks
    [ -f "$notes/lines/$1" ] || return 0
    current=$into/$1
    make_folder "$(dirname "$current")"
    : >"$notes/grown"
    [ ! -f "$current" ] || cat "$current" >"$notes/grown"
    [ ! -s "$notes/grown" ] || [ -z "$(tail -c1 "$notes/grown")" ] || echo >>"$notes/grown"
    index=$(sed -n 's/.*"episode_index": *\([0-9][0-9]*\).*/\1/p' "$notes/lines/$1")
    if [ -n "$index" ]; then
        grep -q "\"episode_index\": *$index[,}]" "$notes/grown" || cat "$notes/lines/$1" >>"$notes/grown"
    else
        grep -vxF -f "$notes/grown" "$notes/lines/$1" >"$notes/fresh" || true
        cat "$notes/fresh" >>"$notes/grown"
    fi
    cmp -s "$notes/grown" "$current" || replace "$notes/grown" "$current"
}

replace() { # a file by a copy of another: readers see the old or the new one, never a part
    temp=$(dirname "$2")/.push-${2##*/}
    cp "$1" "$temp"
    sync "$temp"
    mv -T "$temp" "$2"
    sync "$(dirname "$2")"
}

put() { # a small file with this content
    make_folder "$(dirname "$1")"
    printf '%s\n' "$2" >"$notes/content"
    replace "$notes/content" "$1"
}

case $verb in
look) look "$5" ;;
settle) settle "$5" ;;
esac
