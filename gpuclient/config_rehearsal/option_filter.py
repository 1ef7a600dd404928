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

"""Options that a rehearsal replaces or leaves out.

The configuration is that of a production cloud. Options that name another
server, open a port, load code, or may contain a secret are not passed to the
services of a rehearsal.
"""

import dataclasses
import re

from gpuclient.model import configuration

# States of an option that has no effect.
REPLACED = 'replaced'
LEFT_OUT = 'left out'
UNREAD = 'unread'

# Sections of other services and machines, most of them with credentials.
_SECTIONS_REPLACED = {
    'api_database',
    'cache',
    'database',
    'glance',
    'keystone',
    'keystone_authtoken',
    'neutron',
    'nova_sys_admin',
    'oslo_concurrency',
    'oslo_limit',
    'oslo_middleware',
    'oslo_policy',
    'placement',
    'placement_database',
    'profiler',
    'quota',
    'service_user',
    'ssl',
    'wsgi',
}
_SECTIONS_LEFT_OUT = {
    'barbican',
    'barbican_service_user',
    'cinder',
    'console',
    'consoleauth',
    'cyborg',
    'ironic',
    'key_manager',
    'manila',
    'mks',
    'notifications',
    'remote_debug',
    'serial_console',
    'spice',
    'vault',
    'vendordata_dynamic_auth',
    'vmware',
    'vnc',
    'zvm',
}
_PREFIXES_REPLACED = ('oslo_messaging_', 'privsep', 'vif_plug_', 'os_vif_')
_DEFAULT_REPLACED = re.compile(
    'host|my_ip|my_block_storage_ip|transport_url|control_exchange|rpc_.*'
    '|log_.*|logging_.*|default_log_levels|use_(syslog|journal|json|stderr)'
    '|use_eventlog|syslog_.*|debug|verbose|rate_limit_.*|publish_errors'
    '|state_path|instances_path|pybasedir|bindir|tempdir|rootwrap_config'
    '|use_rootwrap_daemon|compute_driver|enabled_apis|enabled_ssl_apis'
    '|.*_(listen|listen_port|workers)|workers|ssl_only|cert|key|conn_pool_.*'
    '|executor_thread_pool_size|pci_passthrough_devices|quota_.*'
)
#: The simulated driver is not the libvirt driver.
_SECTIONS_UNREAD = {'devices', 'image_cache', 'libvirt'}
_SECRET = re.compile(
    'passw|secret|token|credential|private|api_?key|auth|_key$|^key$'
    '|connection'
)
#: ``rabbit://nova:secret@...``
_SECRET_VALUE = re.compile(r'://[^/\s]*@')
_TEMPLATE = re.compile(r'\{\{|\{%')

# Options that would make a service leave the machine: patterns of
# [section]name, with underscores, of current and deprecated names.
_SERVERS = re.compile(
    r'\[default\](config_(source|dir|file)|servicegroup_driver'
    r'|my_shared_fs_storage_ip'
    r'|default_notification_level|notification_format|notify_on_.*'
    r'|notification_.*)'
    r'|\[api\]((compute|glance)_link_prefix|vendordata_.*)'
    r'|\[(audit_middleware_notifications|oslo_middleware.*|profiler.*'
    r'|healthcheck)\].*',
    re.ASCII,
)
_PORTS = re.compile(
    r'\[default\](backdoor_.*|novncproxy_.*|vnc_.*|vncserver_.*|console_.*'
    r'|.*_listen_address)',
    re.ASCII,
)
_CODE = re.compile(
    r'\[default\](compute_monitors|log_?config|api_paste_config|mkisofs_cmd'
    r'|virt_mkfs)',
    re.ASCII,
)
_FILES = re.compile(
    r'\[default\](log_?dir|log_?file)|\[oslo_reports\].*', re.ASCII
)
#: Lists of classes: only classes of Nova are loaded.
_CLASSES = re.compile(
    r'\[filter_scheduler\](available_filters|weight_classes)', re.ASCII
)
_SEPARATORS = re.compile('[\\s,\'"\\[\\]]+')
_URL = re.compile('://')


@dataclasses.dataclass(frozen=True)
class ExcludedOption:
    """An option that has no effect in a rehearsal."""

    option: configuration.Option
    #: :data:`REPLACED`, :data:`LEFT_OUT` or :data:`UNREAD`.
    state: str
    reason: str

    @property
    def name(self) -> str:
        """``[DEFAULT]transport_url``."""
        return f'[{self.option.section}]{self.option.name}'


def exclude(option: configuration.Option) -> ExcludedOption | None:
    """Return why an option has no effect; None where it is passed to Nova."""
    value = option.setting.text
    if option.setting.depends or _TEMPLATE.search(value):
        return ExcludedOption(option, LEFT_OUT, 'its value is a template')
    if _is_replaced(option.section, option.name):
        return ExcludedOption(
            option, REPLACED, 'the rehearsal sets a value of its own'
        )
    reason = _reason_to_leave_out(option.section, option.name, value)
    if reason is not None:
        return ExcludedOption(option, LEFT_OUT, reason)
    if option.section in _SECTIONS_UNREAD:
        return ExcludedOption(
            option, UNREAD, 'the simulated driver does not read it'
        )
    return None


def _is_replaced(section: str, name: str) -> bool:
    return (
        section in _SECTIONS_REPLACED
        or section.startswith(_PREFIXES_REPLACED)
        or (
            section == 'DEFAULT'
            and _DEFAULT_REPLACED.fullmatch(name) is not None
        )
    )


def _reason_to_leave_out(section: str, name: str, value: str) -> str | None:
    if section in _SECTIONS_LEFT_OUT:
        return 'the rehearsal has no such service'
    if _SECRET.search(name) or _SECRET_VALUE.search(value):
        return 'it may contain a secret'
    return leaves_the_machine(section, name, value)


def leaves_the_machine(section: str, name: str, value: str) -> str | None:
    """Return how an option would leave the machine; None if it would not.

    :param section: As oslo.config compares it.
    """
    option = f'[{section.lower()}]{name.replace("-", "_")}'
    if _SERVERS.fullmatch(option) or _URL.search(value):
        return 'a rehearsal does not connect to other servers'
    if _PORTS.fullmatch(option):
        return 'a rehearsal does not open other ports'
    if _FILES.fullmatch(option):
        return 'a rehearsal does not write files outside its folder'
    if _CODE.fullmatch(option) or (
        _CLASSES.fullmatch(option) and not _are_of_nova(value)
    ):
        return 'a rehearsal loads only code of Nova itself'
    return None


def _are_of_nova(classes: str) -> bool:
    return all(
        name.startswith('nova.') for name in _SEPARATORS.split(classes) if name
    )
