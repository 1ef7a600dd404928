#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

# GPU passthrough with two NVIDIA A100 on one host: from the configuration to
# the list of servers and their cards. Run it with "make demo", which installs
# all that it needs.

set -euo pipefail

began=$(date +%s)
work=$(mktemp -d /tmp/gpu-demo.XXXXXX)
# Use none of the caller's clouds.
for name in "${!OS_@}"; do unset "$name"; done
export XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config

finish() {
    status=$?
    openstack gpu rehearsal stop demo --delete >/dev/null 2>&1 || true
    rm -rf "$work"
    if [ $status -ne 0 ]; then
        echo "The demo ended early, with status $status." >&2
    fi
}
trap finish EXIT
# Also clean up after these signals.
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n# %s\n' "$*"; }

show() {
    printf '\n$'
    printf ' %q' "$@"
    printf '\n'
}

run() {
    show "$@"
    "$@"
}

cd "$work"

say 'The configuration of nova-api and of the compute host, without an alias.'
cat > nova-api.conf <<'END'
[filter_scheduler]
pci_in_placement = True
END
cat > nova-compute.conf <<'END'
[pci]
report_in_placement = True
device_spec = { "vendor_id":"10de", "product_id":"20f1", "address": "0000:04:00.0" }
device_spec = { "vendor_id":"10de", "product_id":"20f1", "address": "0000:82:00.0" }
END
run cat nova-api.conf nova-compute.conf

say 'Define the alias in both files; no cloud is needed.'
run openstack gpu alias create nvidia_a100 \
    --vendor-id 10de --product-id 20f1 --device-type type-PF \
    --api-config nova-api.conf --compute-config nova-compute.conf

say 'Start an OpenStack with this configuration: one host with two cards.'
{
    echo 'control_plane:'
    echo '  config: |'
    echo '    [filter_scheduler]'
    echo '    pci_in_placement = True'
    echo '  api:'
    echo '    - config: |'
    sed 's/^/        /' nova-api.conf
    echo 'hosts:'
    echo '  - name: edpm-compute-0'
    echo '    hypervisor_hostname: edpm-compute-0.ctlplane.example.com'
    echo '    numa:'
    echo "      - {cpus: '0-15', memory_mb: 65536}"
    echo "      - {cpus: '16-31', memory_mb: 65536}"
    echo '    devices:'
    for card in '04:00.0 0' '82:00.0 1'; do
        set -- $card
        echo "      - {address: '0000:$1', vendor_id: '10de', product_id: '20f1', type: type-PF, numa_node: $2}"
    done
    echo '    config: |'
    sed 's/^/      /' nova-compute.conf
} > cloud.yaml
starting=$(date +%s)
run openstack gpu rehearsal start demo --spec cloud.yaml --bound-to $$ -c name -c state -c memory_mb
started=$(date +%s)
eval "$(openstack gpu rehearsal show demo -f value -c use)"

say 'Placement has a resource provider for each card; nova-api has the alias.'
run openstack gpu placement list
run openstack gpu alias verify nvidia_a100 nvidia_a30 || [ $? -eq 3 ]

say 'Create a flavor that requests one card.'
run openstack flavor create device_passthrough --vcpus 1 --ram 512 --disk 1 -c name -c ram -c vcpus
run openstack gpu flavor set device_passthrough --alias nvidia_a100:1

boot() {
    cloud=$1
    run openstack --os-cloud "$cloud" --os-compute-api-version 2.90 server create "$2" \
        --flavor device_passthrough --image blank --nic none --wait \
        -c name -c status
}

say 'Boot a server with a card, and another one in a second project.'
boot demo gpu-1
run openstack gpu server list
boot demo-member gpu-2

say 'No card is left for a third server.'
boot demo-member gpu-3 && { echo 'gpu-3 booted although no card is free' >&2; exit 1; }
run openstack --os-cloud demo-member server show gpu-3 -c name -c status -c fault
run openstack gpu placement list
run openstack gpu placement show nvidia_a100 -c name -c kind -c total -c used -c free

say 'Delete the first server; its card is free again.'
run openstack server delete gpu-1 --wait
run openstack gpu placement list --free
run openstack --os-cloud demo-member server delete gpu-3 --wait

say 'List the servers of all projects and their cards.'
run openstack gpu server list --all-projects

ended=$(date +%s)
echo
echo "The demo took $((ended - began)) s, including $((started - starting)) s to start the cloud."
