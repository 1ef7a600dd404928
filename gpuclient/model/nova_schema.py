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

"""Every option of Nova 34 and of the libraries that its services use.

``nova.conf.opts.list_opts`` has those of Nova itself, deprecated names among
them; a test compares the table with it.
"""

import dataclasses
import functools

BOOLEAN = 'b'
INTEGER = 'i'
FLOAT = 'f'
LIST = 'l'
MULTI = 'm'
STRING = ''
#: A deprecated name; its type is that of the option's own name.
DEPRECATED = 'd'
#: A type that is not modelled, or an option of a library.
OTHER = 'x'


@dataclasses.dataclass(frozen=True)
class Type:
    """The type of an option, as far as values are judged by it."""

    kind: str
    minimum: float | None = None
    maximum: float | None = None


def find(section: str, name: str) -> Type | None:
    """Return the type of an option; None where Nova 34 has no such option.

    :param section: As oslo.config compares it: ``DEFAULT``, all others in
        lower case.
    """
    return _table().get((section, name))


def has_section(section: str) -> bool:
    """Return whether any option is registered in a section."""
    return any(section == known for known, _name in _table())


@functools.cache
def _table() -> dict[tuple[str, str], Type]:
    table = {}
    section = ''
    for word in _OPTIONS.split():
        if word.startswith('['):
            section = word[1:-1]
            continue
        name, _colon, kind = word.partition(':')
        table[section, name] = _type(kind)
    return table


def _type(text: str) -> Type:
    if ',' not in text:
        return Type(text)
    minimum, maximum = text[1:].split(',')
    return Type(
        text[0],
        float(minimum) if minimum else None,
        float(maximum) if maximum else None,
    )


#: ``[section]``, then its options: a name, and after a colon the type and the
#: smallest and greatest number.
_OPTIONS = """
[DEFAULT]
allow_resize_to_same_host:b api_paste_config:d arq_binding_timeout:i1,
backdoor_port:x backdoor_socket:x block_device_allocate_retries:i0,
block_device_allocate_retries_interval:i0, cell_worker_thread_pool_size:i1,
cert client_socket_timeout:x compute_driver compute_monitors:l
concurrency_backend config_dir:x config_drive_format config_file:x
config_source:x console_allowed_origins:d console_host console_token_ttl:d
control_exchange:x cpu_allocation_ratio:f0.0, daemon:b debug:x
default_access_ip_network_name default_availability_zone
default_ephemeral_format default_green_pool_size:i100, default_log_levels:x
default_notification_level:d default_schedule_zone
default_thread_pool_size:i1, disk_allocation_ratio:f0.0,
enable_new_services:b executor_thread_pool_size:x fatal_deprecations:x
flat_injected:b force_config_drive:b force_raw_images:b
graceful_shutdown_timeout:x heal_instance_info_cache_interval:i host
image_cache_manager_interval:d image_cache_subdirectory_name:d
initial_cpu_allocation_ratio:f0.0, initial_disk_allocation_ratio:f0.0,
initial_ram_allocation_ratio:f0.0, injected_network_template
instance_build_timeout:i0, instance_delete_interval:i instance_format:x
instance_name_template instance_usage_audit:b instance_usage_audit_period
instance_uuid_format:x instances_path internal_service_availability_zone key
live_migration_retry_count:i0, log_color:x log_config:x log_config_append:x
log_date_format:x log_dir:x log_file:x log_options:x log_rotate_interval:x
log_rotate_interval_type:x log_rotation_type:x logdir:x logfile:x
logging_context_format_string:x logging_debug_format_suffix:x
logging_default_format_string:x logging_exception_prefix:x
logging_user_identity_format:x long_rpc_timeout:i
manager_shutdown_timeout:i0, max_concurrent_builds:i0,
max_concurrent_live_migrations:i0, max_concurrent_snapshots:i0,
max_header_line:x max_local_block_devices:i max_logfile_count:x
max_logfile_size_mb:x maximum_instance_delete_attempts:i1,
migrate_max_retries:i-1, mkisofs_cmd my_block_storage_ip my_ip
my_shared_fs_storage_ip network_allocate_retries:i0, network_device_mtu:x
non_inheritable_image_properties:l notification_format:d
notify_on_state_change:d novncproxy_base_url:d novncproxy_host:d
novncproxy_port:d osapi_compute_unique_server_name_scope ovs_vsctl_timeout:x
password_length:i0, pci_alias:d pci_passthrough_whitelist:d
periodic_enable:b periodic_fuzzy_delay:i0, pointer_model preallocate_images
publish_errors:x pybasedir quota_cores:d quota_injected_file_content_bytes:d
quota_injected_file_path_length:d quota_injected_files:d quota_instances:d
quota_key_pairs:d quota_metadata_items:d quota_ram:d
quota_server_group_members:d quota_server_groups:d
ram_allocation_ratio:f0.0, rate_limit_burst:x rate_limit_except_level:x
rate_limit_interval:x reboot_timeout:i0, reclaim_instance_interval:i record
reimage_timeout_per_gb:i1, remove_unused_base_images:d
remove_unused_original_minimum_age_seconds:d report_interval:i
rescue_timeout:i0, reserved_host_cpus:i0, reserved_host_disk_mb:i0,
reserved_host_memory_mb:i0, reserved_huge_pages:m resize_confirm_window:i0,
resize_fs_using_block_device:b resume_guests_state_on_host_boot:b
rootwrap_config rpc_ping_enabled:x rpc_response_timeout:x
rpc_thread_pool_size:x run_external_periodic_tasks:x
running_deleted_instance_action running_deleted_instance_poll_interval:i
running_deleted_instance_timeout:i scheduler_instance_sync_interval:i
secure_proxy_ssl_header:d service_down_time:i servicegroup_driver
shell_completion:x shelved_offload_time:i shelved_poll_interval:i
shutdown_timeout:i0, source_is_ipv6:b ssl_only:b
stale_share_access_reconcile_interval:i state_path
sync_power_state_interval:i sync_power_state_pool_size:i
syslog_log_facility:x tcp_keepidle:x tempdir
thread_pool_statistic_period:i-1, timeout_nbd:i0, transport_url:x
update_resources_interval:i use_cow_images:b use_journal:x use_json:x
use_rootwrap_daemon:b use_stderr:x use_syslog:x vcpu_pin_set
vif_plugging_is_fatal:b vif_plugging_timeout:i0, virt_mkfs:m vnc_enabled:d
volume_usage_poll_interval:i web wsgi_default_pool_size:x wsgi_keep_alive:x
wsgi_log_format:x wsgi_server_debug:x
[api]
compute_link_prefix config_drive_skip_versions dhcp_domain
enable_instance_password:b glance_link_prefix
instance_list_cells_batch_fixed_size:i100,
instance_list_cells_batch_strategy instance_list_per_project_cells:b
list_records_by_skipping_down_cells:b local_metadata_per_cell:b
max_limit:i0, metadata_cache_expiration:i0, neutron_default_project_id
neutron_default_tenant_id:d response_validation use_neutron_default_nets:b
vendordata_dynamic_connect_timeout:i3, vendordata_dynamic_failure_fatal:b
vendordata_dynamic_read_timeout:i0, vendordata_dynamic_ssl_certfile
vendordata_dynamic_targets:l vendordata_jsonfile_path vendordata_providers:l
[api_database]
asyncio_connection asyncio_slave_connection backend connection
connection_debug:i0,100 connection_parameters connection_recycle_time:i
connection_trace:b db_inc_retry_interval:b db_max_retries:i
db_max_retry_interval:i db_retry_interval:i max_overflow:i max_pool_size:i
max_retries:i mysql_sql_mode mysql_wsrep_sync_wait:i pool_timeout:i
retry_interval:i slave_connection sqlite_synchronous:b synchronous_reader:b
[barbican]
auth_endpoint barbican_api_version barbican_endpoint barbican_endpoint_type
barbican_region_name cafile certfile collect_timing:b insecure:b keyfile
number_of_retries:i retry_delay:i send_service_user_token:b split_loggers:b
timeout:f tls_ciphers tls_min_version verify_ssl:b verify_ssl_path
[barbican_service_user]
auth_plugin:d auth_section auth_type cafile certfile collect_timing:b
insecure:b keyfile split_loggers:b timeout:f tls_ciphers tls_min_version
[cache]
backend backend_argument:m backend_expiration_time:i1, config_prefix
dead_timeout:d debug_cache_backend:b enable_retry_client:b
enable_socket_keepalive:b enabled:b expiration_time:i1,
hashclient_dead_timeout:f hashclient_retry_attempts:i1,
hashclient_retry_delay:d hashclient_retry_timeout:f memcache_dead_retry:i
memcache_password:d memcache_pool_connection_get_timeout:i
memcache_pool_flush_on_reconnect:b memcache_pool_maxsize:i
memcache_pool_unused_timeout:i memcache_sasl_enabled:b memcache_servers:l
memcache_socket_timeout:d memcache_username:d password proxies:l
redis_db:i0, redis_password:d redis_sentinel_service_name redis_sentinels:l
redis_server redis_socket_timeout:d redis_username:d retry_attempts:i1,
retry_delay:f socket_keepalive_count:i0, socket_keepalive_idle:i0,
socket_keepalive_interval:i0, socket_timeout:f tls_allowed_ciphers
tls_cafile tls_certfile tls_enabled:b tls_keyfile username
[cinder]
auth_plugin:d auth_section auth_type auth_url cafile catalog_info certfile
collect_timing:b cross_az_attach:b debug:b default_domain_id
default_domain_name domain_id domain_name endpoint_template http_retries:i0,
insecure:b keyfile os_region_name password project_domain_id
project_domain_name project_id project_name split_loggers:b system_scope
tenant_id tenant_name timeout:f tls_ciphers tls_min_version trust_id
user_domain_id user_domain_name user_id user_name:d username
[compute]
consecutive_build_service_disable_threshold:i cpu_dedicated_set
cpu_shared_set image_type_exclude_list:l live_migration_wait_for_vif_plug:b
max_concurrent_disk_ops:i0, max_disk_devices_to_attach:i-1,
packing_host_numa_cells_allocation_strategy:b provider_config_location
resource_provider_association_refresh:i0,
sharing_providers_max_uuids_per_request:i1, shutdown_retry_interval:i1,
update_resources_max_workers:i1, vmdk_allowed_types:l
[conductor]
workers:i
[console]
allowed_origins:l ssl_ciphers ssl_minimum_version
[consoleauth]
enforce_session_timeout:b token_ttl:i0,
[cors]
allow_credentials:x allow_headers:x allow_methods:x allowed_origin:x
expose_headers:x max_age:x
[cyborg]
cafile certfile collect_timing:b connect_retries:i connect_retry_delay:f
endpoint_override insecure:b keyfile max_version:x min_version:x region_name
retriable_status_codes:l service_name service_type split_loggers:b
status_code_retries:i status_code_retry_delay:f timeout:f tls_ciphers
tls_min_version valid_interfaces:l version:x
[database]
asyncio_connection asyncio_slave_connection backend connection
connection_debug:i0,100 connection_parameters connection_recycle_time:i
connection_trace:b db_inc_retry_interval:b db_max_retries:i
db_max_retry_interval:i db_retry_interval:i max_overflow:i max_pool_size:i
max_retries:i mysql_sql_mode mysql_wsrep_sync_wait:i pool_timeout:i
retry_interval:i slave_connection sqlite_synchronous:b synchronous_reader:b
use_db_reconnect:x
[devices]
enabled_mdev_types:l enabled_vgpu_types:d
[ephemeral_storage_encryption]
cipher default_format enabled:b key_size:i1,
[filter_scheduler]
aggregate_image_properties_isolation_namespace
aggregate_image_properties_isolation_separator available_filters:m
build_failure_weight_multiplier:f cpu_weight_multiplier:f
cross_cell_move_weight_multiplier:f disk_weight_multiplier:f
enabled_filters:l host_subset_size:i1,
hypervisor_version_weight_multiplier:f image_properties_default_architecture
image_props_weight_multiplier:f image_props_weight_setting:l
io_ops_weight_multiplier:f isolated_hosts:l isolated_images:l
max_instances_per_host:i1, max_io_ops_per_host:i0,
num_instances_weight_multiplier:f pci_in_placement:b
pci_weight_multiplier:f0.0, ram_weight_multiplier:f
restrict_isolated_hosts_to_isolated_images:b
shuffle_best_same_weighed_hosts:b soft_affinity_weight_multiplier:f0.0,
soft_anti_affinity_weight_multiplier:f0.0, track_instance_changes:b
weight_classes:l
[glance]
api_insecure:x api_servers:l cafile certfile collect_timing:b
connect_retries:i connect_retry_delay:f debug:b
default_trusted_certificate_ids:l enable_certificate_validation:b
enable_rbd_download:b endpoint_override insecure:b keyfile max_version:x
min_version:x num_retries:i0, rbd_ceph_conf rbd_connect_timeout:i rbd_pool
rbd_user region_name retriable_status_codes:l service_name service_type
split_loggers:b status_code_retries:i status_code_retry_delay:f timeout:f
tls_ciphers tls_min_version valid_interfaces:l verify_glance_signatures:b
version:x
[guestfs]
debug:b
[healthcheck]
allowed_source_ranges:x backends:x detailed:x disable_by_file_path:x
disable_by_file_paths:x enable_by_file_paths:x ignore_proxied_requests:x
[image_cache]
manager_interval:i-1, precache_concurrency:i1, remove_unused_base_images:b
remove_unused_original_minimum_age_seconds:i
remove_unused_resized_minimum_age_seconds:i subdirectory_name
[ironic]
api_max_retries:i0, api_retry_interval:i0, auth_plugin:d auth_section
auth_type auth_url cafile certfile collect_timing:b conductor_group
connect_retries:i connect_retry_delay:f domain_id domain_name
endpoint_override insecure:b keyfile max_version:x min_version:x
partition_key:d password peer_list:l project_domain_id project_domain_name
project_id project_name region_name retriable_status_codes:l
serial_console_state_timeout:i0, service_name service_type shard
split_loggers:b status_code_retries:i status_code_retry_delay:f system_scope
timeout:f tls_ciphers tls_min_version trust_id user_domain_id
user_domain_name user_id user_name:d username valid_interfaces:l version:x
vnc_console_state_timeout:i0,
[key_manager]
api_class:d auth_type auth_url backend domain_id domain_name fixed_key
password project_domain_id project_domain_name project_id project_name
reauthenticate:b token trust_id user_domain_id user_domain_name user_id
username
[keymgr]
fixed_key:d
[keystone]
auth_plugin:d auth_section auth_type auth_url cafile certfile
collect_timing:b connect_retries:i connect_retry_delay:f default_domain_id
default_domain_name domain_id domain_name endpoint_override insecure:b
keyfile max_version:x min_version:x password project_domain_id
project_domain_name project_id project_name region_name
retriable_status_codes:l service_name service_type split_loggers:b
status_code_retries:i status_code_retry_delay:f system_scope tenant_id
tenant_name timeout:f tls_ciphers tls_min_version trust_id user_domain_id
user_domain_name user_id user_name:d username valid_interfaces:l version:x
[keystone_authtoken]
auth_plugin:x auth_section:x auth_type:x auth_version:x cache:x cafile:x
certfile:x delay_auth_decision:x enforce_token_bind:x http_connect_timeout:x
http_request_max_retries:x include_service_catalog:x insecure:x interface:x
keyfile:x memcache_password:x memcache_pool_conn_get_timeout:x
memcache_pool_dead_retry:x memcache_pool_maxsize:x
memcache_pool_socket_timeout:x memcache_pool_unused_timeout:x
memcache_sasl_enabled:x memcache_secret_key:x memcache_security_strategy:x
memcache_servers:x memcache_tls_allowed_ciphers:x memcache_tls_cafile:x
memcache_tls_certfile:x memcache_tls_enabled:x memcache_tls_keyfile:x
memcache_use_advanced_pool:x memcache_username:x memcached_servers:x
region_name:x service_token_roles:x service_token_roles_required:x
service_type:x token_cache_time:x www_authenticate_uri:x
[libvirt]
ceph_mount_options:l ceph_mount_point_base connection_uri cpu_mode
cpu_model:d cpu_model_extra_flags:l cpu_models:l cpu_power_governor_high
cpu_power_governor_low cpu_power_management:b cpu_power_management_strategy
device_detach_attempts:i1, device_detach_timeout:i1, disk_cachemodes:l
disk_prefix enabled_perf_events:l file_backed_memory:i0, gid_maps:l
hw_disk_discard hw_machine_type:l images_address_space_limit:i
images_cpu_time_limit:i images_rbd_ceph_conf
images_rbd_glance_copy_poll_interval:i images_rbd_glance_copy_timeout:i
images_rbd_glance_store_name images_rbd_pool images_type images_volume_group
inject_key:b inject_partition:i-2, inject_password:b iscsi_iface
iscsi_transport:d iscsi_use_multipath:d iser_use_multipath:b
live_migration_bandwidth:i live_migration_completion_timeout:i0,
live_migration_downtime:i100, live_migration_downtime_delay:i3,
live_migration_downtime_steps:i3, live_migration_inbound_addr
live_migration_monitor_interval:i live_migration_parallel_connections:i
live_migration_permit_auto_converge:b live_migration_permit_post_copy:b
live_migration_scheme live_migration_timeout_action
live_migration_tunnelled:b live_migration_uri
live_migration_with_native_tls:b max_queues:i1, mem_stats_period_seconds:i
migration_inbound_addr nfs_mount_options nfs_mount_point_base
num_aoe_discover_tries:i num_intel_tdx_guests:i0, num_iscsi_scan_tries:d
num_iser_scan_tries:i num_nvme_discover_tries:i num_pcie_ports:i0,28
num_volume_scan_tries:i pmem_namespaces:l quobyte_client_cfg
quobyte_mount_point_base rbd_connect_timeout:i
rbd_destroy_volume_retries:i0, rbd_destroy_volume_retry_interval:i0,
rbd_secret_uuid rbd_user realtime_scheduler_priority:i
remote_filesystem_transport remove_unused_resized_minimum_age_seconds:d
rescue_image_id rescue_kernel_id rescue_ramdisk_id rng_dev_path
rx_queue_size:x smbfs_mount_options smbfs_mount_point_base
snapshot_compression:b snapshot_image_format snapshots_directory
sparse_logical_volumes:b supported_tpm_secret_security:l swtpm_enabled:b
swtpm_group swtpm_user sysinfo_serial tb_cache_size:i0, tx_queue_size:x
uid_maps:l use_default_aio_mode_for_volumes:b use_virtio_for_bridges:b
virt_type volume_clear volume_clear_size:i0, volume_enforce_multipath:b
volume_use_multipath:b vzstorage_cache_path vzstorage_log_path
vzstorage_mount_group vzstorage_mount_opts:l vzstorage_mount_perms
vzstorage_mount_point_base vzstorage_mount_user wait_soft_reboot_seconds:i
[manila]
auth_plugin:d auth_section auth_type auth_url cafile certfile
collect_timing:b connect_retries:x connect_retry_delay:x domain_id
domain_name endpoint_override:x insecure:b keyfile max_version:x
min_version:x password project_domain_id project_domain_name project_id
project_name region_name:x retriable_status_codes:x service_name:x
service_type:x share_apply_policy_timeout:i split_loggers:b
status_code_retries:x status_code_retry_delay:x system_scope timeout:f
tls_ciphers tls_min_version trust_id user_domain_id user_domain_name user_id
user_name:d username valid_interfaces:x version:x
[metrics]
required:b weight_multiplier:f weight_of_unavailable:f weight_setting:l
[mks]
enabled:b mksproxy_base_url
[neutron]
auth_plugin:d auth_section auth_type auth_url cafile certfile
collect_timing:b connect_retries:i connect_retry_delay:f default_domain_id
default_domain_name default_floating_pool domain_id domain_name
endpoint_override extension_sync_interval:i0, http_retries:i0, insecure:b
keyfile max_version:x metadata_proxy_shared_secret min_version:x ovs_bridge
password physnets:l project_domain_id project_domain_name project_id
project_name region_name retriable_status_codes:l service_metadata_proxy:b
service_name service_type split_loggers:b status_code_retries:i
status_code_retry_delay:f system_scope tenant_id tenant_name timeout:f
tls_ciphers tls_min_version trust_id user_domain_id user_domain_name user_id
user_name:d username valid_interfaces:l version:x
[notifications]
bdms_in_notifications:b default_level include_share_mapping:b
notification_format notify_on_state_change versioned_notifications_topics:l
[nova_sys_admin]
capabilities:x group:x helper_command:x log_daemon_traceback:x logger_name:x
thread_pool_size:x user:x
[os_brick]
lock_path:x wait_mpath_device_attempts:x wait_mpath_device_interval:x
[os_vif_ovs]
default_qos_type:x isolate_vif:x network_device_mtu:x ovs_vsctl_timeout:x
ovsdb_connection:x ovsdb_interface:x per_port_bridge:x
[oslo_concurrency]
disable_process_locking:x lock_path:x
[oslo_limit]
auth_plugin:x auth_section:x auth_type:x auth_url:x cafile:x certfile:x
collect_timing:x connect_retries:x connect_retry_delay:x default_domain_id:x
default_domain_name:x domain_id:x domain_name:x endpoint_id:x
endpoint_interface:x endpoint_override:x endpoint_region_name:x
endpoint_service_name:x endpoint_service_type:x insecure:x keyfile:x
max_version:x min_version:x password:x project_domain_id:x
project_domain_name:x project_id:x project_name:x region_name:x
retriable_status_codes:x service_name:x service_type:x split_loggers:x
status_code_retries:x status_code_retry_delay:x system_scope:x tenant_id:x
tenant_name:x timeout:x tls_ciphers:x tls_min_version:x trust_id:x
user_domain_id:x user_domain_name:x user_id:x user_name:x username:x
valid_interfaces:x version:x
[oslo_messaging_kafka]
compression_codec:x consumer_group:x enable_auto_commit:x
kafka_consumer_timeout:x kafka_max_fetch_bytes:x max_poll_records:x
producer_batch_size:x producer_batch_timeout:x sasl_mechanism:x
security_protocol:x ssl_cafile:x ssl_client_cert_file:x
ssl_client_key_file:x ssl_client_key_password:x
[oslo_messaging_metrics]
metrics_buffer_size:x metrics_enabled:x metrics_process_name:x
metrics_socket_file:x metrics_thread_stop_timeout:x
[oslo_messaging_notifications]
driver:x retry:x topics:x transport_url:x
[oslo_messaging_rabbit]
amqp_auto_delete:x amqp_durable_queues:x conn_pool_min_size:x
conn_pool_ttl:x direct_mandatory_flag:x enable_cancel_on_failover:x
heartbeat_rate:x heartbeat_timeout_threshold:x hostname:x
kombu_compression:x kombu_failover_strategy:x
kombu_missing_consumer_retry_timeout:x kombu_reconnect_delay:x
kombu_reconnect_splay:x kombu_reconnect_timeout:x processname:x
rabbit_ha_queues:x rabbit_interval_max:x rabbit_login_method:x
rabbit_qos_prefetch_count:x rabbit_quorum_delivery_limit:x
rabbit_quorum_max_memory_bytes:x rabbit_quorum_max_memory_length:x
rabbit_quorum_queue:x rabbit_retry_backoff:x rabbit_retry_interval:x
rabbit_stream_fanout:x rabbit_transient_queues_ttl:x
rabbit_transient_quorum_queue:x rpc_conn_pool_size:x ssl:x ssl_ca_file:x
ssl_cert_file:x ssl_enforce_fips_mode:x ssl_enforce_hostname_verification:x
ssl_key_file:x ssl_version:x use_queue_manager:x
[oslo_messaging_tracing]
insecure:x otel_exporter_otlp_endpoint:x otlp_protocol:x tracing_enabled:x
tracing_service_name:x
[oslo_middleware]
enable_proxy_headers_parsing:x http_basic_auth_user_file:x
max_request_body_size:x
[oslo_middleware_tracing]
enabled:x insecure:x otlp_endpoint:x otlp_protocol:x sampling_rate:x
service_name:x
[oslo_policy]
enforce_new_defaults:x policy_default_rule:x policy_dirs:x policy_file:x
remote_content_type:x remote_ssl_ca_crt_file:x remote_ssl_client_crt_file:x
remote_ssl_client_key_file:x remote_ssl_verify_server_crt:x remote_timeout:x
[oslo_reports]
file_event_handler:x file_event_handler_interval:x log_dir:x
[oslo_versionedobjects]
fatal_exception_format_errors:x
[pci]
alias:m device_spec:m passthrough_whitelist:d report_in_placement:b
[placement]
auth_plugin:d auth_section auth_type auth_url cafile certfile
collect_timing:b connect_retries:i connect_retry_delay:f default_domain_id
default_domain_name domain_id domain_name endpoint_override insecure:b
keyfile max_version:x min_version:x password project_domain_id
project_domain_name project_id project_name region_name
retriable_status_codes:l service_name service_type split_loggers:b
status_code_retries:i status_code_retry_delay:f system_scope tenant_id
tenant_name timeout:f tls_ciphers tls_min_version trust_id user_domain_id
user_domain_name user_id user_name:d username valid_interfaces:l version:x
[privsep]
capabilities:x group:x helper_command:x log_daemon_traceback:x logger_name:x
thread_pool_size:x user:x
[privsep_osbrick]
capabilities:x group:x helper_command:x log_daemon_traceback:x logger_name:x
thread_pool_size:x user:x
[profiler]
connection_string:x enabled:x es_doc_type:x es_scroll_size:x
es_scroll_time:x filter_error_trace:x hmac_keys:x profiler_enabled:x
sentinel_service_name:x socket_timeout:x trace_requests:x trace_sqlalchemy:x
[profiler_jaeger]
process_tags:x service_name_prefix:x
[profiler_otlp]
service_name_prefix:x
[quota]
cores:i-1, count_usage_from_placement:b driver
injected_file_content_bytes:i-1, injected_file_path_length:i-1,
injected_files:i-1, instances:i-1, key_pairs:i-1, metadata_items:i-1,
ram:i-1, recheck_quota:b server_group_members:i-1, server_groups:i-1,
unified_limits_resource_list:l unified_limits_resource_strategy
[scheduler]
discover_hosts_in_cells_interval:i-1, enable_isolated_aggregate_filtering:b
image_metadata_prefilter:b limit_tenants_to_placement_aggregate:b
max_attempts:i1, max_placement_results:i1,
placement_aggregate_required_for_tenants:b
query_placement_for_image_type_support:b
query_placement_for_routed_network_aggregates:b workers:i0,
[serial_console]
base_url enabled:b port_range proxyclient_address serialproxy_host
serialproxy_port:i0,65535
[service_user]
auth_plugin:d auth_section auth_type auth_url cafile certfile
collect_timing:b default_domain_id default_domain_name domain_id domain_name
insecure:b keyfile password project_domain_id project_domain_name project_id
project_name send_service_user_token:b split_loggers:b system_scope
tenant_id tenant_name timeout:f tls_ciphers tls_min_version trust_id
user_domain_id user_domain_name user_id user_name:d username
[spice]
agent_enabled:b enabled:b html5proxy_base_url html5proxy_host
html5proxy_port:i0,65535 image_compression jpeg_compression
playback_compression:b require_secure:b server_listen
server_proxyclient_address spice_direct_proxy_base_url streaming_mode
zlib_compression
[ssl]
ca_file:x cert_file:x ciphers:x key_file:x version:x
[upgrade_levels]
baseapi compute conductor scheduler
[vault]
approle_role_id approle_secret_id auth_method auth_path kv_mountpoint
kv_path kv_version:x namespace root_token_id ssl_ca_crt_file timeout:f
token_file token_role use_ssl:b vault_url
[vendordata_dynamic_auth]
auth_plugin:d auth_section auth_type auth_url cafile certfile
collect_timing:b default_domain_id default_domain_name domain_id domain_name
insecure:b keyfile password project_domain_id project_domain_name project_id
project_name split_loggers:b system_scope tenant_id tenant_name timeout:f
tls_ciphers tls_min_version trust_id user_domain_id user_domain_name user_id
user_name:d username
[vif_plug_ovs_privileged]
capabilities:x group:x helper_command:x log_daemon_traceback:x logger_name:x
thread_pool_size:x user:x
[vmware]
api_retry_count:i0, ca_file cache_prefix cluster_name
connection_pool_size:i10, console_delay_seconds:i0, datastore_regex host_ip
host_password host_port:i0,65535 host_username insecure:b integration_bridge
maximum_objects:i0, pbm_default_policy pbm_enabled:b pbm_wsdl_location
serial_log_dir serial_port_proxy_uri serial_port_service_uri
task_poll_interval:f use_linked_clone:b vnc_keymap vnc_port:i0,65535
vnc_port_total:i0,
[vnc]
auth_schemes:l enabled:b novncproxy_base_url novncproxy_host
novncproxy_port:i0,65535 server_listen server_proxyclient_address
vencrypt_ca_certs vencrypt_client_cert vencrypt_client_key
[workarounds]
disable_compute_service_check_for_ffu:b disable_deep_image_inspection:b
disable_fallback_pcpu_query:b disable_group_policy_check_upcall:b
disable_libvirt_livesnapshot:b disable_rootwrap:b
enable_numa_live_migration:b enable_qemu_monitor_announce_self:b
ensure_libvirt_rbd_instance_dir_cleanup:b handle_virt_lifecycle_events:b
libvirt_disable_apic:b never_download_image_if_on_rbd:b
qemu_monitor_announce_self_count:i1, qemu_monitor_announce_self_interval:i1,
reserve_disk_resource_for_image_cache:b skip_cpu_compare_at_startup:b
skip_cpu_compare_on_dest:b skip_hypervisor_version_check_on_lm:b
skip_reserve_in_use_ironic_nodes:b unified_limits_count_pcpu_as_vcpu:b
wait_for_vif_plugged_event_during_hard_reboot:l
[wsgi]
api_paste_config secure_proxy_ssl_header
[zvm]
ca_file cloud_connector_url image_tmp_path reachable_timeout:i
"""
