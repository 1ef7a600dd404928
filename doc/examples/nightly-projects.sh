#!/bin/sh
# Gives the projects of a file what they shall have, every night, and reports
# what the limits of Nova let pass. For cron or a timer of systemd:
#
#   OS_CLOUD=admin nightly-projects.sh /etc/gpu/projects.yaml /var/log/gpu
#
# Exit status: 0 nothing to report, 1 failed, 3 a project is over its limits.
set -eu
projects=$1
log=$2
mkdir -p "$log"
# Files of another run are not replaced, not even of one on the same day.
run=$(date +%F-%H%M%S)

# The plan first: what is carried out is what it shows, or nothing if the cloud
# has changed meanwhile.
openstack gpu project apply "$projects" --plan "$log/$run-plan.json" --yes \
    > "$log/$run-plan.txt"
openstack gpu project apply --plan "$log/$run-plan.json" --yes \
    -f json > "$log/$run-applied.json"

# A resize passes limits: list who has more than that. The status is 3 if
# somebody has.
status=0
openstack gpu project list --over-limit -f json \
    > "$log/$run-over-limit.json" || status=$?
if [ "$status" -eq 3 ]; then
    cat "$log/$run-over-limit.json" >&2
fi
exit "$status"
