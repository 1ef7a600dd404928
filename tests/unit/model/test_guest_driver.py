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

import ddt
import testtools

from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.model import guest_driver

MODELS = catalogue.builtin()
DISTRIBUTIONS = guest_driver.distributions()


def choose(
    model: str, distribution: str = 'ubuntu-24.04', **wishes: object
) -> guest_driver.Driver:
    return guest_driver.choose(
        MODELS.by_name(model),
        DISTRIBUTIONS[distribution],
        guest_driver.Wishes(**wishes),  # type: ignore[arg-type]
    )


@ddt.ddt
class TestChoose(testtools.TestCase):
    def summary(self, driver: guest_driver.Driver) -> tuple[object, ...]:
        return driver.repository, driver.branch, driver.modules

    @ddt.data(
        ('nvidia_a100_pcie_40gb', 'ubuntu-24.04', 'distribution 580 open'),
        # Its open modules cannot be installed.
        ('nvidia_a100_pcie_40gb', 'debian-12', 'distribution 535 proprietary'),
        ('nvidia_a100_pcie_40gb', 'debian-13', 'distribution 550 open'),
        ('nvidia_a100_pcie_40gb', 'rocky-9', 'nvidia 580 open'),
        ('nvidia_tesla_p40', 'debian-12', 'distribution 535 proprietary'),
        ('nvidia_tesla_p40', 'rhel-10', 'nvidia 580 proprietary'),
        ('nvidia_tesla_k80', 'ubuntu-22.04', 'distribution 470 proprietary'),
        # Too new for the branch of the distribution.
        ('nvidia_b200', 'debian-13', 'nvidia 580 open'),
        # Debian has no Fabric Manager, Ubuntu no NVLSM.
        ('nvidia_h100_sxm5_80gb', 'debian-12', 'nvidia 580 open'),
        ('nvidia_h100_sxm5_80gb', 'ubuntu-24.04', 'distribution 580 open'),
        ('nvidia_b200', 'ubuntu-24.04', 'nvidia 580 open'),
        # Its repository has no branch 580.
        ('nvidia_b200', 'ubuntu-26.04', 'nvidia 595 open'),
    )
    @ddt.unpack
    def test_default(
        self, model: str, distribution: str, expected: str
    ) -> None:
        driver = choose(model, distribution)
        self.assertEqual(expected, ' '.join(map(str, self.summary(driver))))

    def test_modules(self) -> None:
        driver = choose(
            'nvidia_a100_pcie_40gb',
            'debian-12',
            modules=guest_driver.Modules.OPEN,
        )
        self.assertIs(driver.repository, guest_driver.Repository.NVIDIA)

    def test_fabric_manager(self) -> None:
        self.assertFalse(choose('nvidia_h100_pcie').fabric_manager)
        driver = choose('nvidia_h100_sxm5_80gb')
        self.assertTrue(driver.fabric_manager)
        self.assertFalse(driver.subnet_manager)
        self.assertTrue(choose('nvidia_b200').subnet_manager)
        driver = choose('nvidia_b200', fabric_manager=False)
        self.assertFalse(driver.fabric_manager or driver.subnet_manager)
        self.assertIs(driver.repository, guest_driver.Repository.DISTRIBUTION)
        self.assertTrue(
            choose('nvidia_h100_pcie', fabric_manager=True).fabric_manager
        )

    def test_secure_boot(self) -> None:
        self.assertTrue(choose('nvidia_h100_pcie').is_signed)
        self.assertFalse(choose('nvidia_h100_pcie', 'debian-12').is_signed)
        choose('nvidia_h100_pcie', secure_boot=True)
        for distribution in ('debian-12', 'rocky-9'):
            message = str(
                self.assertRaises(
                    exceptions.InvalidValue,
                    choose,
                    'nvidia_h100_pcie',
                    distribution,
                    secure_boot=True,
                )
            )
            self.assertIn('Secure Boot', message)

    def test_of_the_kernel(self) -> None:
        driver = choose('amd_instinct_mi210')
        self.assertFalse(driver.is_nvidia)
        self.assertTrue(driver.is_signed)

    @ddt.data(
        ('nvidia_tesla_p40', {'modules': guest_driver.Modules.OPEN}, 'open'),
        (
            'nvidia_b200',
            {'modules': guest_driver.Modules.PROPRIETARY},
            'only works with the open',
        ),
        ('nvidia_tesla_p40', {'branch': '595'}, 'its last branch'),
        ('nvidia_b200', {'branch': '535'}, 'its first branch'),
        ('nvidia_h100_pcie', {'branch': '123'}, 'no branch 123'),
        ('nvidia_h100_pcie', {'branch': 'x; reboot'}, 'no branch x; reboot'),
        ('nvidia_tesla_k80', {}, 'newer than 470'),
        ('amd_instinct_mi210', {'branch': '580'}, 'for NVIDIA only'),
        ('amd_instinct_mi210', {'fabric_manager': True}, 'for NVIDIA only'),
    )
    @ddt.unpack
    def test_refused(
        self, model: str, wishes: dict[str, object], message: str
    ) -> None:
        self.assertIn(
            message,
            str(
                self.assertRaises(
                    exceptions.InvalidValue, choose, model, **wishes
                )
            ),
        )

    def test_unknown_driver(self) -> None:
        model = catalogue.merged(
            catalogue.Catalogue(()),
            {
                'models': {
                    'x': {
                        'name': 'X',
                        'vendor_id': '1234',
                        'product_id': '5678',
                    }
                }
            },
        ).models[0]
        error = self.assertRaises(
            exceptions.InvalidValue,
            guest_driver.choose,
            model,
            DISTRIBUTIONS['debian-12'],
            guest_driver.Wishes(),
        )
        self.assertIn('does not know the driver of X', str(error))

    def test_all(self) -> None:
        """Every model has a driver in every distribution, or a reason."""
        refused = set()
        for model in MODELS.models:
            for slug, distribution in DISTRIBUTIONS.items():
                try:
                    driver = guest_driver.choose(
                        model, distribution, guest_driver.Wishes()
                    )
                except exceptions.InvalidValue:
                    refused.add((model.architecture, slug))
                    continue
                if not driver.is_nvidia:
                    continue
                if model.open_kernel_modules != 'supported':
                    self.assertEqual(
                        model.open_kernel_modules == 'unsupported',
                        driver.modules is guest_driver.Modules.PROPRIETARY,
                    )
                self.assertGreaterEqual(
                    int(driver.branch or 0), int(model.driver_floor or 0)
                )
        self.assertEqual(
            {('Kepler', slug) for slug in DISTRIBUTIONS}
            - {('Kepler', 'ubuntu-22.04')},
            refused,
        )
