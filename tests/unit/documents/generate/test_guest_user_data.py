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

import pathlib
import subprocess

import fixtures
import jsonschema
import testtools
import yaml

from gpuclient import exceptions
from gpuclient.documents.generate import guest_user_data
from gpuclient.model import catalogue
from gpuclient.model import guest_driver

#: What cloud-init accepts of the keys that are used. The host tests ask
#: cloud-init itself.
SCHEMA = {
    'type': 'object',
    'additionalProperties': False,
    'required': ['write_files', 'runcmd', 'power_state'],
    'properties': {
        'write_files': {
            'type': 'array',
            'items': {
                'type': 'object',
                'additionalProperties': False,
                'required': ['path', 'permissions', 'content'],
                'properties': {
                    'path': {'type': 'string', 'pattern': '^/'},
                    'permissions': {'enum': ['0755']},
                    'content': {'type': 'string'},
                },
            },
        },
        'runcmd': {
            'type': 'array',
            'items': {'type': 'array', 'items': {'type': 'string'}},
        },
        'power_state': {
            'type': 'object',
            'additionalProperties': False,
            'properties': {
                'mode': {'const': 'reboot'},
                'message': {'type': 'string'},
                'condition': {'type': 'string'},
            },
        },
    },
}
DISTRIBUTIONS = guest_driver.distributions()


def drivers() -> dict[str, guest_driver.Driver]:
    """Return a driver for each script that differs."""
    result = {}
    for model in catalogue.builtin().models:
        for distribution in DISTRIBUTIONS.values():
            for repository in (None, guest_driver.Repository.NVIDIA):
                try:
                    driver = guest_driver.choose(
                        model,
                        distribution,
                        guest_driver.Wishes(repository=repository),
                    )
                except exceptions.InvalidValue:
                    continue
                result[guest_user_data.script(driver)] = driver
    return result


class TestUserData(testtools.TestCase):
    def test_valid(self) -> None:
        for script, driver in drivers().items():
            text = guest_user_data.user_data(driver)
            self.assertTrue(text.startswith('#cloud-config\n'))
            content = yaml.safe_load(text)
            jsonschema.validate(content, SCHEMA)
            (file,) = content['write_files']
            self.assertEqual(script, file['content'])
            self.assertEqual([[file['path']]], content['runcmd'])
            self.assertNotIn('\t', text)

    def test_scripts_are_shell(self) -> None:
        scripts = drivers()
        self.assertGreater(len(scripts), 40)
        for script in scripts:
            subprocess.run(
                ['sh', '-n'], input=script.encode(), check=True, timeout=60
            )

    def test_scripts(self) -> None:
        """What each script must have, and must not have."""
        for script, driver in drivers().items():
            self.assertIn('set -eu', script)
            self.assertTrue(script.endswith(f'touch {guest_user_data.DONE}\n'))
            self.assertEqual(
                driver.is_nvidia, 'blacklist nouveau' in script, script
            )
            self.assertEqual(
                driver.fabric_manager, 'nvidia-fabricmanager' in script
            )
            self.assertEqual(driver.subnet_manager, 'nvlsm' in script)
            self.assertEqual(driver.subnet_manager, 'ib_umad' in script)
            self.assertEqual(driver.is_built, 'dkms autoinstall' in script)
            self.assertNotIn('grid', script.lower())
            self.assertNotIn('vgpu', script.lower())
            if driver.is_nvidia:
                self.assertIn('no module was built', script)
                is_open = driver.modules is guest_driver.Modules.OPEN
                self.assertEqual(is_open, 'open' in script, script)

    def test_notes(self) -> None:
        for driver in drivers().values():
            notes = ' '.join(guest_user_data.notes(driver))
            self.assertIn('hw_firmware_type=uefi', notes)
            self.assertEqual(
                (driver.model.form_factor or '').startswith('Grace'),
                'hw_machine_type=virt' in notes,
            )
            self.assertEqual(
                driver.model.form_factor == 'Grace Blackwell',
                'NMX-Controller' in notes,
            )
            self.assertEqual(
                driver.is_signed, 'os_secure_boot=disabled' not in notes
            )
            self.assertEqual(driver.is_nvidia, 'vGPU guest driver' in notes)

    def test_switches(self) -> None:
        """Fabric Manager is enabled only where the guest has NVSwitches."""
        gpu = ('0x10de', '0x030200', '')
        for devices, action in (
            ((), 'disable'),
            ((gpu,), 'disable'),
            ((('0x15b3', '0x068000', ''),), 'disable'),
            ((gpu, ('0x10de', '0x068000', '')), 'enable'),
        ):
            self.assertEqual(
                (action, False), self.fabric('nvidia_h100_sxm5_80gb', devices)
            )

    def test_switches_behind_infiniband(self) -> None:
        gpu = ('0x10de', '0x030200', '')
        for devices, action in (
            ((), 'disable'),
            ((gpu, ('0x15b3', '0x020700', 'ConnectX-7')), 'disable'),
            ((gpu, ('0x10de', '0x068000', 'SW_MNG')), 'disable'),
            ((gpu, ('0x15b3', '0x020700', '\0SMDL=SW_MNG\0')), 'enable'),
        ):
            self.assertEqual(
                (action, action == 'enable'),
                self.fabric('nvidia_b200', devices),
            )

    def fabric(
        self, model: str, devices: tuple[tuple[str, str, str], ...]
    ) -> tuple[str, bool]:
        """Return what is done with the service, and whether with ib_umad."""
        driver = guest_driver.choose(
            catalogue.builtin().by_name(model),
            DISTRIBUTIONS['ubuntu-24.04'],
            guest_driver.Wishes(),
        )
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / 'devices').mkdir()
        for number, (vendor, code, data) in enumerate(devices):
            device = folder / 'devices' / str(number)
            device.mkdir()
            (device / 'vendor').write_text(f'{vendor}\n')
            (device / 'class').write_text(f'{code}\n')
            if data:
                (device / 'vpd').write_text(data)
        text = '\n'.join(guest_user_data._fabric(driver))
        text = text.replace('/sys/bus/pci', str(folder))
        text = text.replace('/etc/modules-load.d', str(folder))
        shown = self.run_script('systemctl() { echo "$1"; }\n' + text)
        loaded = folder / 'nvidia-fabricmanager.conf'
        if not loaded.exists():
            return shown.strip(), False
        self.assertEqual('ib_umad\n', loaded.read_text())
        return shown.strip(), True

    def run_script(self, text: str) -> str:
        return subprocess.run(
            ['sh', '-s'],
            input=f'set -eu\n{text}',
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def test_modules_of_each_kernel(self) -> None:
        """They are built for all kernels, and must be there for the newest.

        The headers of the running kernel may be missing.
        """
        driver = guest_driver.choose(
            catalogue.builtin().by_name('nvidia_l40s'),
            DISTRIBUTIONS['rocky-9'],
            guest_driver.Wishes(),
        )
        text = '\n'.join(
            (*guest_user_data._build(), *guest_user_data._verify(driver))
        )
        for kernels, works, expected in (
            (('5.14.0-9', '5.14.0-10'), '5.14.0-10', ['9', '10', 'done']),
            (('5.14.0-9', '5.14.0-10'), '5.14.0-9', ['9', '10']),
            (('5.14.0-9',), '5.14.0-9', ['9', 'done']),
            ((), '', []),
        ):
            folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
            # Its headers are not installed.
            (folder / '5.14.0-11').mkdir()
            for kernel in kernels:
                (folder / kernel / 'build').mkdir(parents=True)
                (folder / kernel / 'build' / 'Makefile').touch()
            shown = self.run_script(
                f'dkms() {{ echo "${{3##*-}}"; [ "$3" = "{works}" ] && '
                f'touch "{folder}/$3/nvidia.ko.xz"; }}\n('
                + text.replace('/lib/modules', str(folder)).replace(
                    '>&2', '> /dev/null'
                )
                + '\necho done) || true\n'
            )
            self.assertEqual(expected, shown.split(), kernels)
