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

"""User data of cloud-init that installs the driver of a GPU in a guest.

It writes a script and runs it: the script can also be run in a guest that
exists already, and again.
"""

from gpuclient.model import guest_driver

SCRIPT = '/usr/local/sbin/install-gpu-driver'
#: The script writes it at its end; cloud-init reboots only if it exists.
DONE = '/run/gpu-driver-installed'
BLACKLIST = '/etc/modprobe.d/blacklist-nouveau.conf'
_SITE = 'https://developer.download.nvidia.com/compute/cuda/repos'
_APT = 'apt-get install --yes --no-install-recommends'


def user_data(driver: guest_driver.Driver) -> str:
    """Return the user data: YAML that begins with ``#cloud-config``."""
    lines = [
        '#cloud-config',
        *_comments(driver),
        'write_files:',
        f'- path: {SCRIPT}',
        "  permissions: '0755'",
        '  content: |',
        *(f'    {line}'.rstrip() for line in script(driver).splitlines()),
    ]
    lines += [
        'runcmd:',
        f'- [{SCRIPT}]',
        '# Only if the driver was installed.',
        'power_state:',
        '  mode: reboot',
        '  message: Reboot to load the driver of the GPU',
        f'  condition: test -e {DONE}',
    ]
    return '\n'.join(lines) + '\n'


def notes(driver: guest_driver.Driver) -> tuple[str, ...]:
    """Return what the user has to do besides."""
    machine = 'virt' if driver.is_arm else 'q35'
    result = [
        f'Boot from an image with hw_machine_type={machine} and '
        'hw_firmware_type=uefi'
    ]
    if driver.is_signed:
        result.append('The modules are signed: Secure Boot may be on')
    else:
        result.append(
            'The modules are built in the guest, and no key of the guest '
            'signs them: set os_secure_boot=disabled on the image, or enroll '
            'the key of dkms with mokutil at the console'
        )
    if driver.is_nvidia:
        result.append(
            'This is the standard driver. Never install the vGPU guest driver '
            '(GRID) for a card that is passed through'
        )
    else:
        result.append(
            f'The kernel of the guest must support {driver.model.name} in '
            f'{driver.model.driver}'
        )
        if driver.distribution.family is guest_driver.Family.DEBIAN:
            result.append(
                'Use the image "generic" of Debian: the kernel of '
                '"genericcloud" has no drivers of GPUs'
            )
    if driver.fabric_manager:
        result.append(
            'Fabric Manager runs in the guest only if the guest has the '
            'NVSwitches, that is all GPUs of the board; otherwise the host '
            'configures the fabric'
        )
    elif driver.has_external_fabric:
        result.append(
            'The switch trays of the rack configure the NVLink fabric '
            '(NMX-Controller), not the guest. Jobs across servers need '
            'nvidia-imex in addition'
        )
    return tuple(result)


def _comments(driver: guest_driver.Driver) -> list[str]:
    title = f'# {driver.model.name} in {driver.distribution.name}: '
    if driver.is_nvidia:
        title += (
            f'NVIDIA driver {driver.branch} with {driver.modules} kernel '
            'modules'
        )
    else:
        title += f'driver {driver.model.driver} of the kernel'
    return [title, *(f'# {note}.' for note in notes(driver))]


def script(driver: guest_driver.Driver) -> str:
    """Return the shell script that installs the driver."""
    match driver.distribution.family:
        case guest_driver.Family.RHEL:
            steps = _rhel(driver)
        case _:
            steps = _apt(driver)
    return '\n'.join(
        [
            '#!/bin/sh',
            '# Installs the driver of the GPU; it can be run again.',
            'set -eu',
            *(_without_nouveau() if driver.is_nvidia else ()),
            *steps,
            *(_fabric(driver) if driver.fabric_manager else ()),
            *(_verify(driver) if driver.is_nvidia else ()),
            f'touch {DONE}',
            '',
        ]
    )


def _without_nouveau() -> list[str]:
    return [
        f'cat > {BLACKLIST} <<END',
        'blacklist nouveau',
        'options nouveau modeset=0',
        'blacklist nova_core',
        'END',
    ]


def _build() -> list[str]:
    """Return commands that build the modules for each kernel with headers.

    Packages build them for the running kernel, whose headers may no longer be
    in the archive.
    """
    return [
        '# For each kernel with headers, not only for the running one.',
        'newest=',
        "for makefile in $(printf '%s\\n' /lib/modules/*/build/Makefile \\",
        '    | sort --version-sort)',
        'do',
        '    [ -e "$makefile" ] || continue',
        '    newest=${makefile%/build/Makefile}',
        '    dkms autoinstall --kernelver "${newest##*/}" || true',
        'done',
    ]


def _apt(driver: guest_driver.Driver) -> list[str]:
    steps = ['export DEBIAN_FRONTEND=noninteractive']
    if not driver.is_nvidia:
        steps += _kernel_driver_apt(driver)
    elif driver.repository is guest_driver.Repository.NVIDIA:
        steps += _nvidia_apt(driver)
    elif driver.distribution.family is guest_driver.Family.UBUNTU:
        steps += _ubuntu(driver)
    else:
        steps += _debian(driver)
    if driver.is_built:
        steps += _build()
    if driver.is_nvidia:
        steps += ['# Without nouveau.', 'update-initramfs -u -k all']
    return steps


def _debian(driver: guest_driver.Driver) -> list[str]:
    modules = (
        'nvidia-open-kernel-dkms'
        if driver.modules is guest_driver.Modules.OPEN
        else 'nvidia-kernel-dkms'
    )
    return [
        *_debian_sources(driver.distribution),
        'apt-get update',
        *_debian_headers(),
        f'{_APT} {modules} firmware-nvidia-gsp \\',
        '    nvidia-smi libcuda1 nvidia-persistenced nvidia-modprobe',
    ]


def _debian_sources(distribution: guest_driver.Distribution) -> list[str]:
    components = 'contrib non-free non-free-firmware'
    suite = distribution.codename
    return [
        'cat > /etc/apt/sources.list.d/non-free.list <<END',
        f'deb http://deb.debian.org/debian {suite} {components}',
        f'deb http://deb.debian.org/debian {suite}-updates {components}',
        f'deb http://deb.debian.org/debian-security {suite}-security '
        f'{components}',
        'END',
    ]


def _debian_headers() -> list[str]:
    """Return commands that install the newest kernel with its headers.

    The headers of the running kernel may no longer be in the archive.
    """
    return [
        'flavor=$(dpkg --print-architecture)',
        'case "$(uname -r)" in *-cloud-*) flavor=cloud-$flavor ;; esac',
        f'{_APT} "linux-image-$flavor" "linux-headers-$flavor"',
    ]


def _ubuntu(driver: guest_driver.Driver) -> list[str]:
    kind = f'{driver.branch}-server'
    if driver.modules is guest_driver.Modules.OPEN:
        kind += '-open'
    steps = [
        'apt-get update',
        f'{_APT} linux-modules-nvidia-{kind}-generic \\',
        f'    nvidia-headless-no-dkms-{kind} \\',
        f'    nvidia-utils-{driver.branch}-server',
    ]
    if driver.fabric_manager:
        steps.append(
            f'{_APT} nvidia-fabricmanager-{driver.branch} '
            f'libnvidia-nscq-{driver.branch}'
        )
    return steps


def _nvidia_apt(driver: guest_driver.Driver) -> list[str]:
    package = (
        'nvidia-open'
        if driver.modules is guest_driver.Modules.OPEN
        else 'cuda-drivers'
    )
    if driver.distribution.family is guest_driver.Family.DEBIAN:
        sources = _debian_sources(driver.distribution)
        headers = _debian_headers()
    else:
        sources = []
        headers = [f'{_APT} linux-generic linux-headers-generic']
    keyring = 'cuda-keyring_1.1-1_all.deb'
    folder = f'{_SITE}/{driver.distribution.repository}'
    steps = [
        *sources,
        *_architecture(),
        'apt-get update',
        f'{_APT} ca-certificates wget',
        *headers,
        'wget --quiet --directory-prefix /tmp \\',
        f'    "{folder}/$architecture/{keyring}"',
        f'dpkg --install /tmp/{keyring}',
        'apt-get update',
        f'{_APT} nvidia-driver-pinning-{driver.branch}',
        f'{_APT} {package}',
    ]
    if driver.fabric_manager:
        steps.append(f'{_APT} {_fabric_packages(driver)}')
    return steps


def _fabric_packages(driver: guest_driver.Driver) -> str:
    packages = ['nvidia-fabricmanager', 'libnvidia-nscq']
    if driver.subnet_manager:
        packages += ['nvlsm', 'infiniband-diags']
    return ' '.join(packages)


def _architecture() -> list[str]:
    """Return commands that name the folder of NVIDIA's repository."""
    return [
        'architecture=$(uname -m)',
        'case "$architecture" in aarch64) architecture=sbsa ;; esac',
    ]


def _kernel_driver_apt(driver: guest_driver.Driver) -> list[str]:
    if driver.distribution.family is guest_driver.Family.UBUNTU:
        # The drivers of GPUs are in linux-modules-extra.
        return [
            'apt-get update',
            f'{_APT} linux-generic linux-firmware',
        ]
    firmware = {
        'amdgpu': 'firmware-amd-graphics',
    }.get(
        driver.model.driver or '',
        'firmware-misc-nonfree'
        if driver.distribution.version == '12'
        else 'firmware-intel-graphics',
    )
    return [
        'case "$(uname -r)" in *-cloud-*)',
        '    echo "the kernel of this image has no drivers of GPUs" >&2',
        '    exit 1 ;;',
        'esac',
        *_debian_sources(driver.distribution),
        'apt-get update',
        f'{_APT} {firmware}',
        'update-initramfs -u -k all',
    ]


def _rhel(driver: guest_driver.Driver) -> list[str]:
    distribution = driver.distribution
    if not driver.is_nvidia:
        firmware = ['linux-firmware', 'kernel-modules-extra']
        if distribution.version != '9':
            firmware.append(
                'amd-gpu-firmware'
                if driver.model.driver == 'amdgpu'
                else 'intel-gpu-firmware'
            )
        return [
            f'dnf --assumeyes install {" ".join(firmware)}',
            'dracut --regenerate-all --force',
        ]
    is_open = driver.modules is guest_driver.Modules.OPEN
    package = 'nvidia-open' if is_open else 'cuda-drivers'
    steps = [
        *_rhel_repositories(distribution),
        '# The newest kernel, with its headers.',
        'dnf --assumeyes install kernel kernel-devel-matched kernel-headers',
    ]
    if distribution.version == '9':
        stream = f'{driver.branch}-{"open" if is_open else "dkms"}'
        steps.append(f'dnf --assumeyes module enable nvidia-driver:{stream}')
    else:
        steps += [
            "dnf --assumeyes install 'dnf-command(versionlock)'",
            f"dnf versionlock add '*nvidia*{driver.branch}*'",
        ]
    steps.append(f'dnf --assumeyes install {package}')
    if driver.fabric_manager:
        steps.append(f'dnf --assumeyes install {_fabric_packages(driver)}')
    blacklist = 'rd.driver.blacklist=nouveau,nova_core'
    return [
        *steps,
        *_build(),
        '# Without nouveau.',
        f"grubby --update-kernel ALL --args '{blacklist}'",
        'dracut --regenerate-all --force',
    ]


def _rhel_repositories(
    distribution: guest_driver.Distribution,
) -> list[str]:
    """Return commands that add EPEL, for dkms, and NVIDIA's repository."""
    major = distribution.version
    if distribution.vendor == 'rhel':
        epel = (
            'https://dl.fedoraproject.org/pub/epel/'
            f'epel-release-latest-{major}.noarch.rpm'
        )
        builder = (
            'subscription-manager repos --enable '
            f'"codeready-builder-for-rhel-{major}-$(uname -m)-rpms"'
        )
    else:
        epel = 'epel-release'
        builder = 'dnf config-manager --set-enabled crb'
    folder = distribution.repository
    return [
        *_architecture(),
        "dnf --assumeyes install 'dnf-command(config-manager)'",
        builder,
        f'dnf --assumeyes install {epel}',
        'dnf config-manager --add-repo \\',
        f'    "{_SITE}/{folder}/$architecture/cuda-{folder}.repo"',
    ]


def _fabric(driver: guest_driver.Driver) -> list[str]:
    service = 'nvidia-fabricmanager.service'
    if driver.subnet_manager:
        # The NVSwitches are no PCI devices: InfiniBand devices of the board
        # lead to them.
        find = [
            '    if [ "$(cat "$device/vendor")" = 0x15b3 ] \\',
            '        && grep --quiet SW_MNG "$device/vpd" 2> /dev/null',
            '    then',
            '        switches=yes',
            '    fi',
        ]
        enable = [
            '    echo ib_umad > /etc/modules-load.d/nvidia-fabricmanager.conf'
        ]
    else:
        find = [
            '    case "$(cat "$device/vendor") $(cat "$device/class")" in',
            "    '0x10de 0x0680'*) switches=yes ;;",
            '    esac',
        ]
        enable = []
    return [
        '# A guest without NVSwitches does not configure the fabric.',
        'switches=no',
        'for device in /sys/bus/pci/devices/*; do',
        *find,
        'done',
        'if [ "$switches" = yes ]; then',
        *enable,
        f'    systemctl enable {service}',
        'else',
        f'    systemctl disable {service}',
        'fi',
    ]


def _verify(driver: guest_driver.Driver) -> list[str]:
    """Return commands that fail if there is no module to boot with."""
    folder = '"${newest:-/lib/modules}"' if driver.is_built else '/lib/modules'
    return [
        f"if ! find {folder} -name 'nvidia.ko*' \\",
        "    -o -name 'nvidia-current*.ko*' | grep --quiet .",
        'then',
        '    echo "no module was built: see /var/lib/dkms" >&2',
        '    exit 1',
        'fi',
    ]
