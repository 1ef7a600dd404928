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

import os
import unittest.mock

import fixtures
import testtools

from gpuclient.documents import pci_ids

_OLD = """#
#\tList of PCI IDs
#
#\tVersion: 2020.01.02
#\tDate:    2020-01-02 03:15:02
#
# Vendors, devices and subsystems. Please keep sorted.

10de  NVIDIA Corporation
\t20f1  GA100 [A100 PCIe 40GB]
\t\t10de 145f  Board
\t25b6  GA107GL [A2 / A16]
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t74a1  Aqua Vanjaram [Instinct MI300X]
ffff  Illegal Vendor ID

# List of known device classes, subclasses and programming interfaces

C 03  Display controller
\t02  3D controller
"""


class TestRead(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'w') as stream:
            stream.write(text)
        return path

    def test_names(self):
        names = pci_ids.read(self._write('pci.ids', _OLD))
        self.assertEqual('NVIDIA Corporation', names.vendor('10DE'))
        self.assertEqual(
            'GA100 [A100 PCIe 40GB]', names.device('10de', '20F1')
        )
        self.assertEqual(
            'Aqua Vanjaram [Instinct MI300X]', names.device('1002', '74a1')
        )
        self.assertEqual('Illegal Vendor ID', names.vendor('ffff'))
        for ids in (('10de', '145f'), ('10de', 'ffff'), ('C 03', '02')):
            self.assertIsNone(names.device(*ids))
        self.assertIsNone(names.vendor('C'))

    def test_newest_database_is_used(self):
        old = self._write('old', _OLD)
        new = self._write('new', _OLD.replace('2020', '2026'))
        undated = self._write('undated', 'x')
        missing = os.path.join(self.folder, 'missing')
        for paths in (
            [missing, old, new, undated],
            [new, old, undated, missing],
        ):
            with unittest.mock.patch.object(
                pci_ids, '_candidates', lambda paths=paths: paths
            ):
                self.assertEqual(new, pci_ids.find())
                self.assertEqual(new, pci_ids.load().path)

    def test_no_database(self):
        with unittest.mock.patch.object(pci_ids, '_candidates', list):
            self.assertIsNone(pci_ids.find())
            self.assertIsNone(pci_ids.load())

    def test_the_package(self):
        """The extra installs its own database."""
        names = pci_ids.load()
        self.assertIn('NVIDIA', names.vendor('10de'))
        self.assertGreaterEqual(
            pci_ids._date(names.path), '2026-06-16 03:15:02'
        )
