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

"""Options by which a service would leave the machine that it is rehearsed on.

A configuration under rehearsal is that of a production cloud. What in it names
another server, a port to open, or code and programs to run has no place in a
rehearsal. Options of whole sections, such as ``[glance]``, are in
:mod:`gpuclient.config_rehearsal.plan`.
"""

import re


# Patterns of [section]name, with underscores, of current and deprecated names.
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
#: Lists of classes: those of Nova itself are what is rehearsed.
_CLASSES = re.compile(
    r'\[filter_scheduler\](available_filters|weight_classes)', re.ASCII
)
_SEPARATORS = re.compile('[\\s,\'"\\[\\]]+')
_URL = re.compile('://')


def reason(section: str, name: str, value: str) -> str | None:
    """Return why an option is switched off in a rehearsal, None if it is not.

    :param section: As oslo.config compares it.
    """
    option = f'[{section.lower()}]{name.replace("-", "_")}'
    if _SERVERS.fullmatch(option) or _URL.search(value):
        return 'a rehearsal reaches no other server'
    if _PORTS.fullmatch(option):
        return 'a rehearsal opens no other port'
    if _FILES.fullmatch(option):
        return 'a rehearsal writes no file outside its folder'
    if _CODE.fullmatch(option) or (
        _CLASSES.fullmatch(option) and not _is_of_nova(value)
    ):
        return 'a rehearsal runs no code but that of Nova'
    return None


def _is_of_nova(classes: str) -> bool:
    return all(
        name.startswith('nova.') for name in _SEPARATORS.split(classes) if name
    )
