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
day=$(date +%F)

# The plan first: what is carried out is what it shows, or nothing if the cloud
# has changed meanwhile.
openstack gpu project apply "$projects" --plan "$log/$day-plan.json" --yes \
    > "$log/$day-plan.txt"
openstack gpu project apply --plan "$log/$day-plan.json" --yes \
    -f json > "$log/$day-applied.json"

# A resize passes limits: list who has more than that.
openstack gpu project list --over-limit -f json > "$log/$day-over-limit.json"
if grep -q '"' "$log/$day-over-limit.json"; then
    cat "$log/$day-over-limit.json" >&2
    exit 3
fi
