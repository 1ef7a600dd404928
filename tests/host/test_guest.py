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

"""User data for guests: by Debian's cloud-init, packages and kernel."""

import json
import subprocess

from gpuclient import exceptions
from gpuclient.documents.generate import guest_user_data
from gpuclient.model import catalogue
from gpuclient.model import guest_driver

import testtools

from tests.host import cloud_image
from tests.host import debian
from tests.host import provide

_DISTRIBUTIONS = guest_driver.distributions()


def drivers() -> dict[str, guest_driver.Driver]:
    """Return a driver for each user data that differs, by user data."""
    result = {}
    for model in catalogue.builtin().models:
        for distribution in _DISTRIBUTIONS.values():
            try:
                driver = guest_driver.choose(
                    model, distribution, guest_driver.Wishes()
                )
            except exceptions.InvalidValue:
                continue
            result[guest_user_data.user_data(driver)] = driver
    return result


def driver(distribution: str) -> guest_driver.Driver:
    return guest_driver.choose(
        catalogue.builtin().by_name('nvidia_a100_pcie_40gb'),
        _DISTRIBUTIONS[distribution],
        guest_driver.Wishes(),
    )


def install_cloud_init(guest: debian.Debian) -> None:
    guest.run('apt-get', 'update')
    guest.run(
        *('apt-get', 'install', '--yes', '--no-install-recommends'),
        'cloud-init',
    )


class TestUserData(testtools.TestCase):
    def test_schema(self) -> None:
        """cloud-init accepts all of it: every model and distribution."""
        texts = list(drivers())
        self.assertGreater(len(texts), 1000)
        with debian.prepared() as guest:
            install_cloud_init(guest)
            folder = guest.root / 'srv' / 'user-data'
            folder.mkdir()
            for number, text in enumerate(texts):
                (folder / str(number)).write_text(text)
            check = (
                'import pathlib, yaml\n'
                'from cloudinit.config import schema\n'
                'valid = schema.get_schema()\n'
                'for path in pathlib.Path("/srv/user-data").iterdir():\n'
                '    schema.validate_cloudconfig_schema(\n'
                '        yaml.safe_load(path.read_text()), valid, strict=True)'
            )
            guest.run('python3', '-c', check)
            # And by its command.
            shown = guest.run(
                'cloud-init', 'schema', '--config-file', '/srv/user-data/0'
            )
        self.assertIn('Valid', shown)

    def test_packages(self) -> None:
        """The packages of the distribution can be installed together."""
        script = guest_user_data.script(driver('debian-12'))
        simulated = script.replace(
            'apt-get install', 'apt-get install --simulate'
        ).replace('update-initramfs -u -k all', ':')
        before, _verify, _rest = simulated.partition('if ! find')
        with debian.prepared() as guest:
            path = guest.root / 'srv' / 'script'
            path.write_text(before)
            done = subprocess.run(
                [*provide.enter(guest.root), 'sh', '/srv/script'],
                env=provide.INSIDE,
                capture_output=True,
                text=True,
                check=False,
            )
        self.assertEqual(0, done.returncode, done.stderr)
        for package in ('nvidia-kernel-dkms', 'linux-headers-amd64'):
            self.assertIn(f'Inst {package} ', done.stdout)


class TestBoot(testtools.TestCase):
    def test_driver(self) -> None:
        """A guest installs the driver, reboots, and nouveau is not loaded.

        See :mod:`tests.host.cloud_image` about what is real.
        """
        user_data = guest_user_data.user_data(driver('debian-12'))
        compiled = cloud_image.modules(
            guest_user_data.script(driver('debian-12'))
        )
        with cloud_image.prepared(user_data, compiled) as guest:
            first, second = cloud_image.boot_twice(guest)
        self.assert_installed(first)
        self.assert_reboots(first)
        self.assert_without_nouveau(first, second)

    def assert_installed(self, first: cloud_image.State) -> None:
        self.assertTrue(first['done'], first['log'])
        for package in (
            'linux-headers-amd64',
            'nvidia-kernel-dkms',
            'firmware-nvidia-gsp',
            'nvidia-smi',
            'libcuda1',
            'nvidia-persistenced',
            'nvidia-modprobe',
        ):
            self.assertIn(f'{package}:amd64 (', first['apt'])
        # The A100 works with both; the open ones are broken in Debian 12.
        self.assertNotIn('nvidia-open', first['apt'])
        self.assertRegex(
            first['dkms'], rf'^nvidia-current/.*{first["kernel"]}.*: installed'
        )

    def assert_reboots(self, first: cloud_image.State) -> None:
        self.assertRegex(first['jobs'], r'reboot\.target +start')
        status = json.loads(first['cloud-init'])['v1']
        for stage in ('init', 'modules-config', 'modules-final'):
            self.assertEqual([], status[stage]['errors'], first['log'])

    def assert_without_nouveau(
        self, first: cloud_image.State, second: cloud_image.State
    ) -> None:
        # The kernel has nouveau for the card: it was loaded before.
        for state in (first, second):
            self.assertIn('nouveau', state['matching'])
            self.assertNotIn('nouveau', state['loading'])
            self.assertIn('blacklist nouveau\n', state['blacklist'])
        self.assertIn('nouveau', first['modules'])
        self.assertNotIn('nouveau', second['modules'])
        # udev loads the new module in its place, which refuses this card.
        self.assertIn('nvidia-current', second['loading'])
        self.assertIn('NVRM: BAR1 is 0M', second['messages'])
