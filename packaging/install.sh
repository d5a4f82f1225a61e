#!/bin/sh
# Installs the Airlock of this folder, upgrades to it, goes back to the one before, or takes it away.
set -eu
umask 022

usage() {
  cat <<'END'
Usage: install.sh [--root DIR]              install, or upgrade to, the version in this folder
       install.sh --rollback [--root DIR]   go back to the version that was installed before
       install.sh --uninstall [--root DIR]  take the program away; data and its user stay

  --root DIR   work on the system below DIR, such as an image that is being made; nothing is started there

Versions go to /opt/airlock/VERSION; /opt/airlock/current leads to the one in use, /opt/airlock/previous to the one before.
Data is in /var/lib/airlock. The service is airlock.service, the command /usr/local/bin/airlock.
END
}

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

main() {
  # What root has set for commands of its own is not meant for the service's data.
  for name in $(env | sed -n 's/^\(AIRLOCK_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
  action=install
  root=
  while [ $# -gt 0 ]; do
    case $1 in
      --rollback) action=rollback ;;
      --uninstall) action=uninstall ;;
      --root) [ $# -gt 1 ] || fail '--root needs a folder.'; root=${2%/}; shift ;;
      --help | -h) usage; exit 0 ;;
      *) usage >&2; exit 2 ;;
    esac
    shift
  done
  [ "$(id -u)" = 0 ] || fail 'Only root can do this: sudo ./install.sh'
  [ -z "$root" ] || [ -d "$root" ] || fail "There is no folder $root."
  opt=$root/opt/airlock
  unit=$root/etc/systemd/system/airlock.service
  user=$root/etc/sysusers.d/airlock.conf
  command=$root/usr/local/bin/airlock
  data=/var/lib/airlock
  "$action"
}

install() {
  here=$(CDPATH= cd "$(dirname "$0")/.." && pwd -P)
  (cd "$here" && sha256sum -c SHA256SUMS >/dev/null) ||
    fail "$here is damaged: some files are not those of SHA256SUMS. Unpack the package again. Nothing was changed."
  # Also tells whether this package is for this kind of machine.
  version=$(NODE_COMPILE_CACHE= "$here/airlock" --version) || fail 'This package does not run on this machine. Nothing was changed.'
  before=$(linked current)
  copy_program
  if [ "$before" != "$version" ]; then
    [ -z "$before" ] || switch previous "$before"
    switch current "$version"
  fi
  put 755 "$here/system/airlock-installed" "$command"
  put 644 "$here/system/airlock.service" "$unit"
  put 644 "$here/system/airlock.sysusers" "$user"
  if [ -z "$root" ]; then
    make_user
    systemd daemon-reload
    was=$(running)
    { systemd try-restart airlock.service && stays_up; } ||
      fail "Airlock $version is installed, but does not start: journalctl -u airlock. Back to the one before: $0 --rollback"
  fi
  forget_others
  rm -rf "$opt/.cache"
  mkdir -m 700 "$opt/.cache" # compiled code, of commands that root gives
  if [ -z "$before" ]; then
    say "Installed Airlock $version. Start it, now and with the machine: systemctl enable --now airlock"
  elif [ "$before" = "$version" ]; then
    say "Airlock $version was installed already."
  else
    say "Upgraded Airlock from $before to $version. Back again: $opt/current/system/install.sh --rollback"
  fi
}

# A version that is there is never changed: whatever runs in it goes on.
copy_program() {
  if [ -e "$opt/$version" ]; then
    cmp -s "$here/SHA256SUMS" "$opt/$version/SHA256SUMS" ||
      fail "Another Airlock $version is in $opt/$version. Go back to the one before or uninstall, and try again. Nothing was changed."
    return
  fi
  rm -rf "$opt/.new"
  mkdir -p "$opt"
  cp -R "$here" "$opt/.new"
  rm -rf "$opt/.new/.cache" "$opt/.new/storage" # compiled code, and what came of trying it out
  ln -s "$data" "$opt/.new/storage" # who starts the program by its path gets the same data
  chown -R 0:0 "$opt/.new"
  chmod -R go-w "$opt/.new"
  sync
  mv "$opt/.new" "$opt/$version"
}

rollback() {
  before=$(linked current)
  after=$(linked previous)
  [ -n "$after" ] && [ -x "$opt/$after/airlock" ] || fail "There is no version to go back to in $opt."
  was=$(running)
  [ "$was" = no ] || systemd stop airlock.service
  switch current "$after"
  switch previous "$before"
  if [ -z "$root" ] && ! open_data; then
    switch current "$before"
    switch previous "$after"
    [ "$was" = no ] || systemd start airlock.service || true # it says itself what is wrong
    fail "Airlock $after cannot work with this data; Airlock $before is in use as before."
  fi
  [ "$was" = no ] || { systemd start airlock.service && stays_up; } ||
    fail "Airlock $after is in use, but does not start: journalctl -u airlock. Back to Airlock $before: $0 --rollback"
  say "Went back from Airlock $before to $after."
}

# A newer version may have brought the catalog to a newer format. All that is stored stays: the catalog is made anew from it.
open_data() {
  [ -e "$data/catalog.sqlite" ] || return 0
  if told=$("$command" --json repo list 2>/dev/null); then return 0; fi
  case $told in
    *catalog.newer-format*) ;;
    *) printf '%s\n' "$told" >&2; return 1 ;;
  esac
  say 'The catalog was brought to a newer format; making it anew from what is stored.'
  "$command" doctor --rebuild-catalog
}

uninstall() {
  if [ -z "$root" ]; then systemd disable --now airlock.service || true; fi
  rm -f "$unit" "$user" "$command"
  rm -rf "$opt"
  if [ -z "$root" ]; then
    rm -rf /var/cache/airlock
    systemd daemon-reload
  fi
  say "Airlock is gone. Its data is still in $root$data, and belongs to the user airlock."
}

# Only this version and the one before are kept.
forget_others() {
  for folder in "$opt"/*; do
    if [ -d "$folder" ] && ! [ -L "$folder" ]; then
      case ${folder##*/} in
        "$(linked current)" | "$(linked previous)") ;;
        *) rm -rf "$folder" ;;
      esac
    fi
  done
}

linked() { readlink "$opt/$1" 2>/dev/null || true; }

# In one step: there is no moment without a version.
switch() {
  rm -f "$opt/.link"
  ln -s "$2" "$opt/.link"
  mv -T "$opt/.link" "$opt/$1"
}

put() {
  mkdir -p "${3%/*}"
  cp "$2" "$3.new"
  chmod "$1" "$3.new"
  mv "$3.new" "$3"
}

make_user() {
  if ! id airlock >/dev/null 2>&1; then
    if command -v systemd-sysusers >/dev/null; then
      systemd-sysusers "$user"
    else
      useradd --system --user-group --home-dir "$data" --shell /usr/sbin/nologin airlock
    fi
  fi
  mkdir -p "$data"
  chmod 750 "$data"
  chown airlock:airlock "$data"
}

# Not on machines and in containers that systemd did not start.
systemd() {
  [ -d /run/systemd/system ] || return 0
  systemctl "$@"
}

running() {
  if [ -z "$root" ] && [ -d /run/systemd/system ] && systemctl is-active --quiet airlock.service; then echo yes; else echo no; fi
}

# Whether the service that ran before ($was) goes on to run. systemd calls it started once its program runs, which is before that
# has looked at anything.
stays_up() {
  [ "$was" = yes ] || return 0
  for second in 1 2 3 4 5 6 7 8 9 10; do
    sleep 1
    systemctl is-active --quiet airlock.service || return 1
    case $(systemctl show --property NRestarts airlock.service) in
      NRestarts=0 | '') ;;
      *) return 1 ;;
    esac
  done
}

main "$@"
