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

"""What the tables of all vendors have in common."""

from gpuclient.model import catalogue

MIB = 1024**2
GIB = 1024**3

#: Of all records: ids and names.
PCI_IDS = 'pci.ids 2026.06.16 (https://pci-ids.ucw.cz)'

PF = ('type-PF',)
PCI = ('type-PCI',)
#: The firmware of the card decides.
PF_OR_PCI = ('type-PF', 'type-PCI')


def gpu(
    vendor_id: str,
    name: str,
    designation: str,
    product_id: str,
    architecture: str,
    device_types: tuple[str, ...] = (),
    memory_gb: int | None = None,
    *,
    bars: tuple[catalogue.Bar, ...] = (),
    driver: str | None = None,
    form_factor: str | None = 'PCIe',
    notes: str | None = None,
    common_sources: tuple[str, ...] = (),
    sources: tuple[str, ...] = (),
) -> catalogue.Model:
    """Return a record.

    :param name: Without the vendor's; the slug is made of both.
    :param memory_gb: As vendors state it, which is GiB.
    :param common_sources: Of all records of a table.
    """
    name = f'{catalogue.VENDORS[vendor_id]} {name}'
    return catalogue.Model(
        slug='_'.join(catalogue.words(name)),
        name=name,
        designation=designation,
        vendor_id=vendor_id,
        product_id=product_id,
        architecture=architecture,
        device_types=device_types,
        memory_mb=None if memory_gb is None else memory_gb * 1024,
        bars=bars,
        driver=driver,
        form_factor=form_factor,
        notes=notes,
        sources=(PCI_IDS, *common_sources, *sources),
    )
