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

"""Kernel and initramfs of the server, which prints the output of lspci."""

import gzip
import pathlib
import re
import shutil

from tests.host import provide

#: Last line that it writes to its console.
END = 'the server has looked'
#: Kernel arguments; without no_timer_check, the kernel panics if its timer is
#: late.
ARGUMENTS = 'console=ttyS0 no_timer_check panic=-1'
_LSPCI = '/usr/bin/lspci'
#: The PCI database of lspci.
_NAMES = '/usr/share/misc/pci.ids'
_INIT = f"""\
#!/bin/busybox sh
export PATH=/bin:/usr/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo
echo '$ lspci -nn'
lspci -nn
for device in $(lspci -n -d 10de: | cut -d ' ' -f 1); do
    echo
    echo "$ lspci -nnvs $device"
    # Without modules, it prints a warning.
    lspci -nnvs $device 2> /dev/null
done
echo '{END}'
exec sleep 1000000
"""


def kernel() -> pathlib.Path:
    """Return the kernel that the server boots: Debian's."""
    return next(provide.kernel().glob('boot/vmlinuz-*'))


def initramfs(folder: pathlib.Path) -> pathlib.Path:
    """Build the initramfs in a folder; return it."""
    root = provide.compute()
    tree = folder / 'server'
    for name in ('bin', 'proc', 'sys'):
        (tree / name).mkdir(parents=True)
    (tree / 'init').write_text(_INIT)
    (tree / 'init').chmod(0o755)
    shutil.copy(shutil.which('busybox') or '', tree / 'bin' / 'busybox')
    libraries = re.findall(r'/\S+', provide.inside(root, 'ldd', _LSPCI))
    for path in (_LSPCI, _NAMES, *libraries):
        target = tree / path.lstrip('/')
        target.parent.mkdir(parents=True, exist_ok=True)
        # Resolve links in the root folder of the host.
        real = provide.inside(root, 'realpath', path).strip()
        shutil.copy(root / real.lstrip('/'), target)
    image = folder / 'server-initramfs'
    image.write_bytes(gzip.compress(provide.pack(tree)))
    return image
