#!/bin/sh
# Installs what is missing of the named groups of packages.txt, and does nothing when nothing is missing.
#
# usage: tools/install_packages.sh GROUP...        e.g. tools/install_packages.sh build test
set -eu
list=$(dirname "$0")/../packages.txt

if ! command -v dpkg-query >/dev/null; then
    echo "install_packages: not Debian or Ubuntu, so nothing is installed; packages.txt says what is needed" >&2
    exit 0
fi

missing=
for group in "$@"; do
    packages=$(sed -n "s/^$group: *//p" "$list")
    [ -n "$packages" ] || { echo "install_packages: packages.txt has no group '$group'" >&2; exit 2; }
    for package in $packages; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing="$missing $package"
    done
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install_packages: neither root nor sudo here; ask for: apt-get install$missing" >&2
        echo "install_packages: where they are provided in another way, say INSTALL=no to make" >&2
        exit 1
    fi
    as_root=sudo
fi

echo "install_packages: installing$missing" >&2
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}
# The lists may be absent or too old to find the files: fetch them only then.
install >/dev/null 2>&1 && exit 0
$as_root apt-get update -q >&2
install >&2
