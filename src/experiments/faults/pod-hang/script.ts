/**
 * What the helper pod runs, in the node's PID namespace: a stop signal sent to a container's first process from inside
 * its own namespace would be ignored by the kernel.
 *
 * It finds the container's processes by the container's id, in their control group or else among their arguments, stops
 * them, waits, and continues them: when its time is over, when it is told to end (deletion, deadline), or when anything
 * in it fails. Before continuing it looks again whose processes these are, for a number may have been given to another
 * since. Needs no more than a POSIX shell with grep, pgrep, sleep and kill.
 */
const findProcesses = `
set -u
pids=''
sleeper=''
[ "\${#TARGET}" -ge 12 ] || { echo 'failed: no container id'; exit 2; }
find_by_group() {
  for file in $(grep -ls -- "$TARGET" /proc/[0-9]*/cgroup); do
    folder=\${file%/cgroup}
    echo "\${folder#/proc/}"
  done
}
find_by_arguments() { pgrep -f -- "container-id=$TARGET"; }
all_pids() {
  found=$(find_by_group)
  [ -n "$found" ] || found=$(find_by_arguments)
  echo $found
}
`;

/** Environment: TARGET, the container's id without its runtime; HOLD_SECONDS, real seconds. Prints `stopped <pids>`. */
export const stopScript = `${findProcesses}
resume() {
  trap - EXIT
  [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null
  now=" $(all_pids) "
  for pid in $pids; do
    case "$now" in *" $pid "*) kill -CONT "$pid" ;; esac
  done
  echo "continued $pids"
}
pids=$(all_pids)
[ -n "$pids" ] || { echo 'failed: no process of this container on this node'; exit 3; }
trap 'resume; exit 0' TERM INT HUP
trap resume EXIT
kill -STOP $pids || { echo 'failed: the processes cannot be stopped'; exit 4; }
echo "stopped $pids"
sleep "$HOLD_SECONDS" &
sleeper=$!
wait "$sleeper"
`;

/** Continues what a helper that was killed itself left stopped. Prints `continued <pids>`. */
export const continueScript = `${findProcesses}
pids=$(all_pids)
[ -z "$pids" ] || kill -CONT $pids
echo "continued $pids"
`;
