#!/bin/sh
# Supervises one mount: holds its FUSE descriptor (number 3) while the processes that serve it come and go. As long as it is
# open, the kernel keeps the mount, and readers wait instead of failing. docs/adr/0012-supervised-mounts.md
#
# Usage, in the state folder of the mount: supervisor.sh MOUNTPOINT
#   ./command   what serves the mount; it exits with 0 when the file system was unmounted
#   ./journal   is there as soon as something may be mounted: before that a failure is final
#   ./served    written by the server once it answers the kernel
# SIGTERM and SIGINT unmount, SIGHUP starts the server anew. Descriptor 4, if it is open, is for the first server alone.

set -u

MAX_FAILURES=6
MAX_QUICK_ENDS=5
QUICK_SECONDS=10
# How often is looked for a server that has ended and cannot go.
LOOK_SECONDS=5

say() {
  printf '%s %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2" >&2
}

# Seconds since the machine started, as $now. No other program is run: the first mount waits for all of them.
look_at_clock() {
  read -r now _ </proc/uptime
  now=${now%%.*}
}

# In the background: the server has to answer while this goes on.
stop() {
  if [ -e journal ]; then
    (umount "$mountpoint" 2>/dev/null || umount -l "$mountpoint") &
  else
    kill -TERM "$server" 2>/dev/null
  fi
}

reload() {
  [ -e served ] || return
  reloading=1
  kill -HUP "$server" 2>/dev/null
}

# Runs the server to its end; the status is in $status. A signal ends `wait` early.
serve() {
  [ ! -e served ] || rm -f served
  # It is renamed when another mount takes the place of one that is still in use; a shell notices when it goes there.
  cd -P . && THIMBLE_STATE_FOLDER=$PWD
  export THIMBLE_STATE_FOLDER
  sh ./command &
  server=$!
  unset THIMBLE_READY_FD
  exec 4>&-
  # The end of the server is told by a signal, and ends `wait` early.
  while is_running; do
    sleep "$LOOK_SECONDS" 3>&- &
    nap=$!
    { wait "$nap"; kill "$nap"; } 2>/dev/null
  done
  status=137
  # The shell has its own word for each signal; the log gets a better one.
  [ -n "$stuck" ] || { wait "$server"; status=$?; } 2>/dev/null
}

# A server has ended once its first thread has. Another may be stuck in the kernel, behind a reader who waits for an answer: it goes
# when the next server has answered that one, and so nobody may wait for it.
is_running() {
  stuck=
  { read -r state <"/proc/$server/stat"; } 2>/dev/null || return 1
  case ${state##*) } in
    Z*) [ "$(ls "/proc/$server/task" 2>/dev/null)" = "$server" ] || stuck=1; return 1 ;;
  esac
}

# What a server that ended for no good reason is followed by. Fails when there is no hope.
after_crash() {
  say warn "the server of $mountpoint ended with status $status, starting it again"
  if [ -e served ]; then
    failures=0
    look_at_clock
    [ $((now - started)) -lt "$QUICK_SECONDS" ] && quick=$((quick + 1)) || quick=0
    # A server that fails by itself may fail of a request: that one is not asked again.
    [ "$status" = 137 ] || [ "$quick" -lt 2 ] || THIMBLE_LOST_REQUESTS=fail
    [ "$quick" -le "$MAX_QUICK_ENDS" ] || sleep 1
    return 0
  fi
  failures=$((failures + 1))
  if [ "$failures" -ge 2 ] && [ -e command.previous ]; then
    say error "the new server of $mountpoint does not start, going back to the one before"
    mv command.previous command
    failures=0
    return 0
  fi
  [ "$failures" -lt "$MAX_FAILURES" ] || return 1
  sleep $((failures * failures / 4))
}

# Everybody who waits for the file system gets an error instead.
give_up() {
  say error "the server of $mountpoint failed $failures times without serving, giving up; the file system is unmounted"
  exec 3>&-
  umount -l "$mountpoint"
}

main() {
  mountpoint=$1
  failures=0
  quick=0
  reloading=0
  # What becomes of requests that a dead server had read: asked again where the kernel can, unless this is `fail`.
  lost_requests=${THIMBLE_LOST_REQUESTS-}
  export THIMBLE_SUPERVISED=1 THIMBLE_LOST_REQUESTS="$lost_requests"
  # Large blocks that are freed, such as catalogs on their way, go back to the system.
  export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX-2}" MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_-1048576}"
  echo "$$" >pid
  if { command exec 3<>/dev/fuse; } 2>/dev/null; then export THIMBLE_FUSE_FD=3; fi
  trap stop TERM INT
  trap reload HUP
  trap : CHLD
  while :; do
    look_at_clock
    started=$now
    serve
    THIMBLE_LOST_REQUESTS=$lost_requests
    [ "$status" != 0 ] && [ -e journal ] || break
    if [ "$reloading" = 1 ]; then
      reloading=0
    else
      after_crash || { give_up; break; }
    fi
  done
  cd -P . && rm -rf "$PWD"
  exit "$status"
}

# Read whole before it begins: an upgrade may replace this file.
main "$@"; exit
