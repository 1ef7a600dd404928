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

import typing
import unittest.mock

from keystoneauth1 import adapter
from keystoneauth1 import session
import requests_mock
import testtools

from gpuclient.cloud import glance
from gpuclient import exceptions
from gpuclient.model import demand
from gpuclient.model import flavor as flavor_model

URL = 'http://glance'


class TestGlance(testtools.TestCase):
    def test_find(self) -> None:
        """Fields of images that are not strings are no properties."""
        cloud: typing.Any = unittest.mock.Mock()
        cloud.image = adapter.Adapter(
            session.Session(), endpoint_override=URL, service_type='image'
        )
        with requests_mock.Mocker() as mock:
            mock.get(
                f'{URL}/images/i',
                json={
                    'id': 'i',
                    'name': 'n',
                    'os_hidden': False,
                    'os_hash_algo': 'sha512',
                    'hw_architecture': 's390x',
                },
            )
            image = glance.find_image(cloud, 'i')
        self.assertNotIn('os_hidden', image.properties)
        flavor = flavor_model.Flavor('f', 'f', 1, 512, 1, False, {})
        self.assertEqual(
            (
                'ImagePropertiesFilter excludes hosts that do not support '
                'hw_architecture = s390x of the image',
            ),
            demand.demand(flavor, {}, image=image).at_most,
        )
        self.assertEqual((), demand.demand(flavor, {}).at_most)

    def test_ambiguous(self) -> None:
        cloud: typing.Any = unittest.mock.Mock()
        cloud.image = adapter.Adapter(
            session.Session(), endpoint_override=URL, service_type='image'
        )
        with requests_mock.Mocker() as mock:
            mock.get(f'{URL}/images/n', status_code=404)
            mock.get(
                f'{URL}/images?name=n',
                json={
                    'images': [{'id': name, 'name': 'n'} for name in 'ij'],
                },
            )
            error = self.assertRaises(
                exceptions.Ambiguous, glance.find_image, cloud, 'n'
            )
        self.assertEqual(
            "2 images have the name 'n': use the ID of one of them: i, j",
            str(error),
        )
