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

"""Options that Nova had and removed, and what replaced them.

Taken from ``nova/conf`` of each release from 13 (Mitaka) to 33 (2026.1): an
option, or a deprecated name of one, that the next release no longer registers.
"""

import dataclasses
import functools


@dataclasses.dataclass(frozen=True)
class Removed:
    """An option that is ignored."""

    #: The first release of Nova without it: ``24`` is 24.0.0.
    release: int
    #: Section and name of the option that replaced it.
    replacement: tuple[str, str] | None
    #: What to do where no option replaced it; empty where nothing is known.
    advice: str = ''


def find(section: str, name: str) -> Removed | None:
    """Return what became of an option; None where Nova did not remove it."""
    return _table().get((section, name))


def names() -> tuple[tuple[str, str], ...]:
    """Return section and name of every removed option."""
    return tuple(_table())


@functools.cache
def _table() -> dict[tuple[str, str], Removed]:
    table = {}
    words = iter(_OPTIONS.split())
    for section, name, release, replacement in zip(
        words, words, words, words, strict=True
    ):
        table[section, name] = Removed(
            int(release),
            None if replacement == '-' else _option(replacement),
            _ADVICE.get((section, name), ''),
        )
    return table


def _option(text: str) -> tuple[str, str]:
    section, _dot, name = text.partition('.')
    return section, name


#: Of options that no single option replaced (Nova's release notes).
_ADVICE = {
    ('DEFAULT', 'baremetal_scheduler_default_filters'): (
        'schedule bare metal by resource classes'
    ),
    ('DEFAULT', 'scheduler_driver'): 'only the filter scheduler is left',
    ('DEFAULT', 'scheduler_host_manager'): 'only one host manager is left',
    ('DEFAULT', 'scheduler_use_baremetal_filters'): (
        'schedule bare metal by resource classes'
    ),
    ('filter_scheduler', 'baremetal_enabled_filters'): (
        'schedule bare metal by resource classes'
    ),
    ('filter_scheduler', 'use_baremetal_filters'): (
        'schedule bare metal by resource classes'
    ),
    ('scheduler', 'driver'): 'only the filter scheduler is left',
    ('scheduler', 'host_manager'): 'only one host manager is left',
    ('scheduler', 'query_placement_for_availability_zone'): (
        'the scheduler always does so'
    ),
}

#: Section, name, the first release without it, and the option that replaced
#: it, or a dash.
_OPTIONS = """
DEFAULT aggregate_image_properties_isolation_namespace 24
    filter_scheduler.aggregate_image_properties_isolation_namespace
DEFAULT aggregate_image_properties_isolation_separator 24
    filter_scheduler.aggregate_image_properties_isolation_separator
DEFAULT allow_instance_snapshots 18 -
DEFAULT allow_same_net_traffic 21 -
DEFAULT auth_strategy 21 -
DEFAULT auto_assign_floating_ip 21 -
DEFAULT bandwidth_poll_interval 23 -
DEFAULT baremetal_scheduler_default_filters 18 -
DEFAULT bindir 23 -
DEFAULT boot_script_template 16 -
DEFAULT ca_file 18 -
DEFAULT ca_path 18 -
DEFAULT cert_manager 15 -
DEFAULT cert_topic 15 -
DEFAULT cnt_vpn_clients 21 -
DEFAULT compute_available_monitors 15 -
DEFAULT compute_manager 15 -
DEFAULT compute_stats_class 15 -
DEFAULT compute_topic 16 -
DEFAULT config_drive_skip_versions 32 api.config_drive_skip_versions
DEFAULT console_driver 16 -
DEFAULT console_manager 15 -
DEFAULT console_public_hostname 22 -
DEFAULT console_topic 16 -
DEFAULT console_xvp_conf 21 -
DEFAULT console_xvp_conf_template 21 -
DEFAULT console_xvp_log 21 -
DEFAULT console_xvp_multiplex_port 21 -
DEFAULT console_xvp_pid 21 -
DEFAULT consoleauth_manager 15 -
DEFAULT consoleauth_topic 16 -
DEFAULT create_unique_mac_address_attempts 21 -
DEFAULT crl_file 18 -
DEFAULT db_driver 18 -
DEFAULT default_flavor 20 -
DEFAULT default_floating_pool 21 -
DEFAULT default_publisher_id 18 -
DEFAULT defer_iptables_apply 21 -
DEFAULT dhcp_domain 32 api.dhcp_domain
DEFAULT dhcp_lease_time 21 -
DEFAULT dhcpbridge 21 -
DEFAULT dhcpbridge_flagfile 21 -
DEFAULT disk_weight_multiplier 24 filter_scheduler.disk_weight_multiplier
DEFAULT dmz_cidr 21 -
DEFAULT dmz_mask 16 -
DEFAULT dmz_net 16 -
DEFAULT dns_server 21 -
DEFAULT dns_update_periodic_interval 21 -
DEFAULT dnsmasq_config_file 21 -
DEFAULT ebtables_exec_attempts 21 -
DEFAULT ebtables_retry_interval 21 -
DEFAULT enable_instance_password 32 api.enable_instance_password
DEFAULT enable_network_quota 21 -
DEFAULT enabled_apis 32 -
DEFAULT enabled_ssl_apis 32 -
DEFAULT fake_network 21 -
DEFAULT firewall_driver 21 -
DEFAULT fixed_ip_disassociate_timeout 21 -
DEFAULT fixed_range_v6 21 -
DEFAULT flat_interface 21 -
DEFAULT flat_network_bridge 21 -
DEFAULT flat_network_dns 21 -
DEFAULT floating_ip_dns_manager 21 -
DEFAULT force_dhcp_release 21 -
DEFAULT force_snat_range 21 -
DEFAULT forward_bridge_interface 21 -
DEFAULT fping_path 18 -
DEFAULT gateway 21 -
DEFAULT gateway_v6 21 -
DEFAULT image_decryption_dir 15 -
DEFAULT instance_dns_domain 21 -
DEFAULT instance_dns_manager 21 -
DEFAULT io_ops_weight_multiplier 24 filter_scheduler.io_ops_weight_multiplier
DEFAULT iptables_bottom_regex 21 -
DEFAULT iptables_drop_action 21 -
DEFAULT iptables_top_regex 21 -
DEFAULT ipv6_backend 21 -
DEFAULT isolated_hosts 24 filter_scheduler.isolated_hosts
DEFAULT isolated_images 24 filter_scheduler.isolated_images
DEFAULT key_file 18 -
DEFAULT keys_path 18 -
DEFAULT l3_lib 21 -
DEFAULT ldap_dns_base_dn 21 -
DEFAULT ldap_dns_password 21 -
DEFAULT ldap_dns_servers 21 -
DEFAULT ldap_dns_soa_expiry 21 -
DEFAULT ldap_dns_soa_hostmaster 21 -
DEFAULT ldap_dns_soa_minimum 21 -
DEFAULT ldap_dns_soa_refresh 21 -
DEFAULT ldap_dns_soa_retry 21 -
DEFAULT ldap_dns_url 21 -
DEFAULT ldap_dns_user 21 -
DEFAULT linuxnet_interface_driver 21 -
DEFAULT linuxnet_ovs_integration_bridge 21 -
DEFAULT max_age 19 -
DEFAULT max_instances_per_host 24 filter_scheduler.max_instances_per_host
DEFAULT max_io_ops_per_host 24 filter_scheduler.max_io_ops_per_host
DEFAULT metadata_cache_expiration 32 api.metadata_cache_expiration
DEFAULT metadata_host 21 -
DEFAULT metadata_listen 32 -
DEFAULT metadata_listen_port 32 -
DEFAULT metadata_manager 15 -
DEFAULT metadata_port 21 -
DEFAULT metadata_workers 32 -
DEFAULT monkey_patch 18 -
DEFAULT monkey_patch_modules 18 -
DEFAULT multi_host 21 -
DEFAULT multi_instance_display_name_template 18 -
DEFAULT network_driver 21 -
DEFAULT network_manager 21 -
DEFAULT network_size 21 -
DEFAULT network_topic 16 -
DEFAULT networks_path 21 -
DEFAULT neutron_default_tenant_id 32 api.neutron_default_tenant_id
DEFAULT notify_api_faults 17 -
DEFAULT null_kernel 17 -
DEFAULT num_networks 21 -
DEFAULT osapi_compute_link_prefix 32 api.compute_link_prefix
DEFAULT osapi_compute_listen 32 -
DEFAULT osapi_compute_listen_port 32 -
DEFAULT osapi_compute_workers 32 -
DEFAULT osapi_glance_link_prefix 32 api.glance_link_prefix
DEFAULT osapi_hide_server_address_states 19 -
DEFAULT osapi_max_limit 32 api.max_limit
DEFAULT project_cert_subject 18 -
DEFAULT public_interface 21 -
DEFAULT quota_driver 18 quota.driver
DEFAULT quota_fixed_ips 21 -
DEFAULT quota_floating_ips 21 -
DEFAULT quota_networks 21 -
DEFAULT quota_security_group_rules 21 -
DEFAULT quota_security_groups 21 -
DEFAULT ram_weight_multiplier 24 filter_scheduler.ram_weight_multiplier
DEFAULT reservation_expire 19 -
DEFAULT restrict_isolated_hosts_to_isolated_images 24
    filter_scheduler.restrict_isolated_hosts_to_isolated_images
DEFAULT routing_source_ip 21 -
DEFAULT s3_access_key 15 -
DEFAULT s3_affix_tenant 15 -
DEFAULT s3_host 15 -
DEFAULT s3_port 15 -
DEFAULT s3_secret_key 15 -
DEFAULT s3_use_ssl 15 -
DEFAULT scheduler_available_filters 24 filter_scheduler.available_filters
DEFAULT scheduler_default_filters 24 filter_scheduler.enabled_filters
DEFAULT scheduler_driver 23 -
DEFAULT scheduler_driver_task_period 18 -
DEFAULT scheduler_host_manager 18 -
DEFAULT scheduler_host_subset_size 24 filter_scheduler.host_subset_size
DEFAULT scheduler_json_config_location 15 -
DEFAULT scheduler_manager 15 -
DEFAULT scheduler_max_attempts 24 scheduler.max_attempts
DEFAULT scheduler_topic 16 -
DEFAULT scheduler_tracks_instance_changes 24
    filter_scheduler.track_instance_changes
DEFAULT scheduler_use_baremetal_filters 18 -
DEFAULT scheduler_weight_classes 24 filter_scheduler.weight_classes
DEFAULT send_arp_for_ha 21 -
DEFAULT send_arp_for_ha_count 21 -
DEFAULT share_dhcp_address 21 -
DEFAULT snapshot_name_template 15 -
DEFAULT soft_affinity_weight_multiplier 19
    filter_scheduler.soft_affinity_weight_multiplier
DEFAULT soft_anti_affinity_weight_multiplier 19
    filter_scheduler.soft_anti_affinity_weight_multiplier
DEFAULT ssl_ca_file 32 -
DEFAULT ssl_cert_file 32 -
DEFAULT ssl_key_file 32 -
DEFAULT teardown_unused_network_gateway 21 -
DEFAULT until_refresh 19 -
DEFAULT update_dns_entries 21 -
DEFAULT use_forwarded_for 29 -
DEFAULT use_ipv6 21 -
DEFAULT use_network_dns_servers 21 -
DEFAULT use_neutron 21 -
DEFAULT use_neutron_default_nets 32 api.use_neutron_default_nets
DEFAULT use_project_ca 18 -
DEFAULT use_single_default_gateway 21 -
DEFAULT user_cert_subject 18 -
DEFAULT vendordata_driver 17 -
DEFAULT vendordata_dynamic_connect_timeout 32
    api.vendordata_dynamic_connect_timeout
DEFAULT vendordata_dynamic_read_timeout 32 api.vendordata_dynamic_read_timeout
DEFAULT vendordata_dynamic_ssl_certfile 32 api.vendordata_dynamic_ssl_certfile
DEFAULT vendordata_dynamic_targets 32 api.vendordata_dynamic_targets
DEFAULT vendordata_jsonfile_path 32 api.vendordata_jsonfile_path
DEFAULT vendordata_providers 32 api.vendordata_providers
DEFAULT vlan_interface 21 -
DEFAULT vlan_start 21 -
DEFAULT vnc_keymap 22 -
DEFAULT vncserver_listen 25 vnc.server_listen
DEFAULT vncserver_proxyclient_address 25 vnc.server_proxyclient_address
DEFAULT vpn_flavor 16 -
DEFAULT vpn_image_id 16 -
DEFAULT vpn_ip 21 -
DEFAULT vpn_key_suffix 16 -
DEFAULT vpn_start 21 -
DEFAULT xvpvncproxy_base_url 21 -
DEFAULT xvpvncproxy_host 21 -
DEFAULT xvpvncproxy_port 21 -
api allow_instance_snapshots 18 -
api auth_strategy 32 -
api fping_path 18 -
api hide_server_address_states 19 -
api use_forwarded_for 29 -
api_database idle_timeout 24 api_database.connection_recycle_time
barbican catalog_info 15 -
barbican endpoint_template 15 -
barbican os_region_name 15 -
cells bandwidth_update_interval 20 -
cells call_timeout 20 -
cells capabilities 20 -
cells cell_type 20 -
cells cells_config 20 -
cells db_check_interval 20 -
cells driver 15 -
cells enable 20 -
cells instance_update_num_instances 20 -
cells instance_update_sync_database_limit 20 -
cells instance_updated_at_threshold 20 -
cells manager 14 -
cells max_hop_count 20 -
cells mute_child_interval 20 -
cells mute_weight_multiplier 20 -
cells name 20 -
cells offset_weight_multiplier 20 -
cells ram_weight_multiplier 20 -
cells reserve_percent 20 -
cells rpc_driver_queue_base 20 -
cells scheduler 20 -
cells scheduler_filter_classes 20 -
cells scheduler_retries 20 -
cells scheduler_retry_delay 20 -
cells scheduler_weight_classes 20 -
cells topic 16 -
cloudpipe boot_script_template 16 -
cloudpipe dmz_mask 16 -
cloudpipe dmz_net 16 -
cloudpipe vpn_flavor 16 -
cloudpipe vpn_image_id 16 -
cloudpipe vpn_key_suffix 16 -
conductor manager 15 -
conductor topic 18 -
conductor use_local 15 -
crypto ca_file 18 -
crypto ca_path 18 -
crypto crl_file 18 -
crypto key_file 18 -
crypto keys_path 18 -
crypto project_cert_subject 18 -
crypto use_project_ca 18 -
crypto user_cert_subject 18 -
filter_scheduler baremetal_enabled_filters 18 -
filter_scheduler use_baremetal_filters 18 -
glance allowed_direct_url_schemes 23 -
glance use_glance_v1 15 -
hyperv config_drive_cdrom 29 -
hyperv config_drive_inject_password 29 -
hyperv dynamic_memory_ratio 29 -
hyperv enable_instance_metrics_collection 29 -
hyperv enable_remotefx 29 -
hyperv instances_path_share 29 -
hyperv iscsi_initiator_list 29 -
hyperv limit_cpu_features 29 -
hyperv mounted_disk_query_retry_count 29 -
hyperv mounted_disk_query_retry_interval 29 -
hyperv power_state_check_timeframe 29 -
hyperv power_state_event_polling_interval 29 -
hyperv qemu_img_cmd 29 -
hyperv use_multipath_io 29 -
hyperv volume_attach_retry_count 29 -
hyperv volume_attach_retry_interval 29 -
hyperv vswitch_name 29 -
hyperv wait_soft_reboot_seconds 29 -
image_file_url filesystems 16 -
ironic admin_auth_token 14 -
ironic admin_password 15 -
ironic admin_tenant_name 15 -
ironic admin_url 15 -
ironic admin_username 15 -
ironic api_endpoint 20 -
ironic api_version 14 -
ironic client_log_level 14 -
libvirt checksum_base_images 20 -
libvirt checksum_interval_seconds 20 -
libvirt glusterfs_mount_point_base 16 -
libvirt image_info_filename_pattern 20 -
libvirt live_migration_progress_timeout 19 -
libvirt num_memory_encrypted_guests 34 -
libvirt qemu_allowed_storage_drivers 16 -
libvirt scality_sofs_config 16 -
libvirt scality_sofs_mount_point 16 -
libvirt use_usb_tablet 23 -
libvirt xen_hvmloader_path 23 -
neutron url 20 -
notifications default_publisher_id 18 -
notifications notify_on_api_faults 17 -
osapi_v21 extensions_blacklist 16 -
osapi_v21 extensions_whitelist 16 -
osapi_v21 project_id_regex 21 -
placement incomplete_consumer_project_id 20 -
placement incomplete_consumer_user_id 20 -
placement os_interface 18 -
placement os_region_name 18 -
placement policy_file 20 -
placement randomize_allocation_candidates 20 -
placement_database connection 20 -
placement_database connection_debug 20 -
placement_database connection_parameters 20 -
placement_database connection_recycle_time 20 -
placement_database connection_trace 20 -
placement_database idle_timeout 16 -
placement_database max_overflow 20 -
placement_database max_pool_size 20 -
placement_database max_retries 20 -
placement_database mysql_sql_mode 20 -
placement_database pool_timeout 20 -
placement_database retry_interval 20 -
placement_database slave_connection 20 -
placement_database sqlite_synchronous 20 -
powervm disk_driver 26 -
powervm proc_units_factor 26 -
powervm volume_group_name 26 -
quota fixed_ips 21 -
quota floating_ips 21 -
quota max_age 19 -
quota reservation_expire 19 -
quota security_group_rules 21 -
quota security_groups 21 -
quota until_refresh 19 -
rdp enabled 29 -
rdp html5_proxy_base_url 29 -
scheduler driver 23 -
scheduler host_manager 18 -
scheduler periodic_task_interval 23 -
scheduler query_placement_for_availability_zone 28 -
serial_console listen 14 -
spice keymap 22 -
trusted_computing attestation_api_url 17 -
trusted_computing attestation_auth_blob 17 -
trusted_computing attestation_auth_timeout 17 -
trusted_computing attestation_insecure_ssl 17 -
trusted_computing attestation_port 17 -
trusted_computing attestation_server 17 -
trusted_computing attestation_server_ca_file 17 -
upgrade_levels cells 20 -
upgrade_levels cert 29 -
upgrade_levels console 21 -
upgrade_levels consoleauth 20 -
upgrade_levels intercell 20 -
upgrade_levels network 21 -
vmware vlan_interface 21 -
vmware wsdl_location 16 -
vnc keymap 22 -
vnc vncserver_listen 25 vnc.server_listen
vnc vncserver_proxyclient_address 25 vnc.server_proxyclient_address
vnc xvpvncproxy_base_url 21 -
vnc xvpvncproxy_host 21 -
vnc xvpvncproxy_port 21 -
workarounds disable_native_luksv1 24 -
workarounds enable_consoleauth 20 -
workarounds rbd_volume_local_attach 24 -
wsgi client_socket_timeout 32 -
wsgi default_pool_size 32 -
wsgi keep_alive 32 -
wsgi max_header_line 32 -
wsgi ssl_ca_file 32 -
wsgi ssl_cert_file 32 -
wsgi ssl_key_file 32 -
wsgi tcp_keepidle 32 -
wsgi wsgi_log_format 32 -
xenserver agent_path 22 -
xenserver agent_resetnetwork_timeout 22 -
xenserver agent_timeout 22 -
xenserver agent_version_timeout 22 -
xenserver block_device_creation_timeout 22 -
xenserver cache_images 22 -
xenserver check_host 22 -
xenserver connection_concurrent 22 -
xenserver connection_password 22 -
xenserver connection_url 22 -
xenserver connection_username 22 -
xenserver console_public_hostname 22 -
xenserver default_os_type 22 -
xenserver disable_agent 22 -
xenserver image_compression_level 22 -
xenserver image_handler 22 -
xenserver image_upload_handler 22 -
xenserver independent_compute 22 -
xenserver introduce_vdi_retry_wait 22 -
xenserver ipxe_boot_menu_url 22 -
xenserver ipxe_mkisofs_cmd 22 -
xenserver ipxe_network_name 22 -
xenserver login_timeout 22 -
xenserver max_kernel_ramdisk_size 22 -
xenserver num_vbd_unplug_retries 22 -
xenserver ovs_integration_bridge 22 -
xenserver remap_vbd_dev 17 -
xenserver remap_vbd_dev_prefix 17 -
xenserver running_timeout 22 -
xenserver sparse_copy 22 -
xenserver sr_base_path 22 -
xenserver sr_matching_filter 22 -
xenserver target_host 22 -
xenserver target_port 22 -
xenserver torrent_base_url 16 -
xenserver torrent_download_stall_cutoff 16 -
xenserver torrent_images 16 -
xenserver torrent_listen_port_end 16 -
xenserver torrent_listen_port_start 16 -
xenserver torrent_max_last_accessed 16 -
xenserver torrent_max_seeder_processes_per_host 16 -
xenserver torrent_seed_chance 16 -
xenserver torrent_seed_duration 16 -
xenserver use_agent_default 22 -
xenserver use_join_force 22 -
xenserver vhd_coalesce_max_attempts 22 -
xenserver vhd_coalesce_poll_interval 22 -
xenserver vif_driver 18 -
xvp console_xvp_conf 21 -
xvp console_xvp_conf_template 21 -
xvp console_xvp_log 21 -
xvp console_xvp_multiplex_port 21 -
xvp console_xvp_pid 21 -
"""
