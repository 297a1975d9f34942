#!/bin/sh
# Installs dfld as a system service, or takes it away: `make install-service`, `make uninstall-service`.
#
#   systemd/install.sh install      run again to upgrade: configuration and state stay, a running service is restarted
#   systemd/install.sh uninstall    leaves /etc/dfld, /var/lib/dfld and /srv/dfld alone, and says so
#
# Program: /opt/dfld, a virtual environment of its own. DESTDIR puts all files below another root, for packagers and
# tests; then nothing of this machine is started or made. PYTHON chooses the interpreter (3.11 or newer).
set -eu

PYTHON=${PYTHON:-python3}
DESTDIR=${DESTDIR:-}
PROGRAM=/opt/dfld
UNITS=/etc/systemd/system
MANUAL=/usr/local/share/man/man1/dfld.1
BASH_COMPLETION=/usr/local/share/bash-completion/completions/dfld
ZSH_COMPLETION=/usr/local/share/zsh/site-functions/_dfld
FISH_COMPLETION=/usr/local/share/fish/vendor_completions.d/dfld.fish
SOURCE=$(cd "$(dirname "$0")/.." && pwd)

say() { printf 'dfld: %s\n' "$*"; }
fail() { printf 'dfld: %s\n' "$*" >&2; exit 1; }
booted() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

require_root() {
    [ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || fail "run as root: sudo make $1-service"
}

install_program() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$PYTHON is older than Python 3.11"
    case $("$PYTHON" -c 'import sys; print(sys.base_prefix)') in
    /root/* | /home/*) fail "$PYTHON lies in a home, which the service cannot see (ProtectHome=); set PYTHON to a system one" ;;
    esac
    wanted=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    found=$("$PROGRAM/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
    if [ "$found" != "$wanted" ]; then
        say "making $PROGRAM with Python $wanted"
        "$PYTHON" -m venv --clear "$PROGRAM"
    fi
    gpu=no
    "$PROGRAM/bin/python" -m pip --version >/dev/null
    if "$PROGRAM/bin/python" -m pip show --quiet onnxruntime-gpu 2>/dev/null; then gpu=yes; fi
    say "installing dfld and its locked dependencies"
    "$PROGRAM/bin/python" -m pip install --quiet --constraint "$SOURCE/constraints.txt" "${SOURCE}[embedded]"
    # The version may be the same while the code is not; dependencies are settled by the line above.
    "$PROGRAM/bin/python" -m pip install --quiet --force-reinstall --no-deps "$SOURCE"
    if ! "$PROGRAM/bin/python" -c 'import cv2' 2>/dev/null; then
        say "no X11 libraries here: taking opencv-python-headless"  # see the Makefile
        "$PROGRAM/bin/python" -m pip uninstall --quiet --yes opencv-python
        "$PROGRAM/bin/python" -m pip install --quiet --constraint "$SOURCE/constraints.txt" opencv-python-headless
    fi
    if [ "$gpu" = yes ] || [ -e /dev/nvidiactl ]; then
        # onnxruntime and onnxruntime-gpu overwrite each other's files: only one may be there.
        "$PROGRAM/bin/python" -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
        "$PROGRAM/bin/python" -m pip install --quiet --constraint "$SOURCE/constraints.txt" onnxruntime-gpu
    fi
}

install_files() {
    install -D -m 0644 "$SOURCE/systemd/dfld.service" "$DESTDIR$UNITS/dfld.service"
    install -D -m 0644 "$SOURCE/systemd/dfld.sysusers" "$DESTDIR/usr/lib/sysusers.d/dfld.conf"
    install -D -m 0644 "$SOURCE/systemd/dfld.tmpfiles" "$DESTDIR/usr/lib/tmpfiles.d/dfld.conf"
    if [ -e /dev/nvidiactl ]; then
        install -D -m 0644 "$SOURCE/systemd/gpu.conf" "$DESTDIR$UNITS/dfld.service.d/gpu.conf"
    fi
    for page in "$SOURCE"/docs/*.md; do
        install -D -m 0644 "$page" "$DESTDIR$PROGRAM/share/doc/dfld/${page##*/}"
    done
    if [ ! -e "$DESTDIR/etc/dfld/config.toml" ]; then
        install -D -m 0640 "$SOURCE/config.example.toml" "$DESTDIR/etc/dfld/config.toml"
        say "wrote /etc/dfld/config.toml from the example: edit it"
    fi
}

settle() {
    systemd-sysusers /usr/lib/sysusers.d/dfld.conf
    systemd-tmpfiles --create /usr/lib/tmpfiles.d/dfld.conf
    # The service may read its configuration and not write it.
    chown root:dfld /etc/dfld/config.toml
    ln -sf "$PROGRAM/bin/dfld" /usr/local/bin/dfld
    # For man and the shells, from the program itself.
    mkdir -p "$(dirname "$MANUAL")" "$(dirname "$BASH_COMPLETION")" "$(dirname "$ZSH_COMPLETION")" "$(dirname "$FISH_COMPLETION")"
    "$PROGRAM/bin/dfld" man >"$MANUAL"
    "$PROGRAM/bin/dfld" completion bash >"$BASH_COMPLETION"
    "$PROGRAM/bin/dfld" completion zsh >"$ZSH_COMPLETION"
    "$PROGRAM/bin/dfld" completion fish >"$FISH_COMPLETION"
}

case "${1:-}" in
install)
    require_root install
    if [ -z "$DESTDIR" ]; then install_program; fi
    install_files
    if [ -z "$DESTDIR" ]; then settle; fi
    if booted; then
        systemctl daemon-reload
        systemctl try-restart dfld.service
        say "check with: dfld check /etc/dfld/config.toml; start with: systemctl enable --now dfld"
    fi
    ;;
uninstall)
    require_root uninstall
    if booted; then systemctl disable --now dfld.service 2>/dev/null || true; fi
    rm -rf "$DESTDIR$UNITS/dfld.service" "$DESTDIR$UNITS/dfld.service.d/gpu.conf" \
        "$DESTDIR/usr/lib/sysusers.d/dfld.conf" "$DESTDIR/usr/lib/tmpfiles.d/dfld.conf" \
        "$DESTDIR/usr/local/bin/dfld" "$DESTDIR$PROGRAM" \
        "$DESTDIR$MANUAL" "$DESTDIR$BASH_COMPLETION" "$DESTDIR$ZSH_COMPLETION" "$DESTDIR$FISH_COMPLETION"
    rmdir "$DESTDIR$UNITS/dfld.service.d" 2>/dev/null || true
    if booted; then systemctl daemon-reload; fi
    say "removed the program and its unit; /etc/dfld, /var/lib/dfld, /srv/dfld and the user dfld are left"
    ;;
*)
    fail "usage: systemd/install.sh install | uninstall"
    ;;
esac
