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

"""What a message may show of a value: no secret, and not without end.

Values stand beside values of others: a line that is indented by mistake joins
the password above it to an alias. So texts of ``[pci]`` are shown by what is
known of them, word by word, and messages are searched for what looks like a
secret before anybody sees them. All of it takes time in proportion to the
text.
"""

import collections.abc
import re

#: Characters of a value that are shown.
LONGEST = 200
#: Characters of a name that is shown wherever it stands.
_LONGEST_WORD = 24
#: Letters of one word in a name that is longer.
_LONGEST_PIECE = 16
#: Letters that the words of a name have on average.
_LEAST_LETTERS = 3.7
#: What is long and no secret.
_IDENTIFIER = re.compile(
    r'/.*|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}', re.DOTALL
)
#: A word that is too long to be shown whatever it is.
_LONG = re.compile(r'[^\s\'",;:()\[\]{}=]{25,}')
#: Names of ours that have more digits than words: GPU models, variables.
_OURS = re.compile('(?:nvidia|amd|intel|edpm)(?:_[a-z0-9]{1,12}){1,8}')
#: Where names of kinds, in names of files, have their next word.
_KINDS = re.compile(
    'openstack(?=controlplane|dataplane)|'
    'dataplane(?=nodeset|deployment|service)'
)
_WORDS = re.compile('[A-Z]+[a-z]*|[a-z]+|[0-9]+')
#: Marks between the parts of names of files and hosts.
_MARKS = re.compile('[-._/#~+@%]+')
#: A part of such a name: ``conf``, ``a100``, ``80g``, ``10``.
_PART = re.compile(
    '(?:[a-z]{1,16}|[A-Z]{1,16}|[A-Z][a-z]{1,15})[0-9]{0,4}'
    '|[0-9]{1,4}(?:[a-z]{1,16}|[A-Z]{1,16})?'
)
#: Letters that such a name has at least, of all its letters and digits.
_LEAST_SHARE = 1 / 3
#: The end of the name of a file of configuration, also of a copy of it.
_FILE = re.compile(
    r'[.](?:conf|cfg|ini|ya?ml|json|toml|j2|jinja2?|tmpl|template|pp|rb|sh|'
    r'txt|md|rst|env|rules|service|mount|log|xml|tar|tgz|gz)'
    r'(?:[.](?:d|in|j2|rpm(?:new|save|orig)|dpkg-\w{1,8}|ucf-\w{1,8}|'
    r'bak|backup|old|orig|save|saved|disabled|sample|example|sw[a-z]|gz|'
    r'[0-9]{1,14}))?[~#]?\Z'
)
#: Characters of such an end.
_LONGEST_END = 32
#: Characters of a whole message.
_LONGEST_MESSAGE = 4000
#: What stands in place of what is not shown.
MASK = '***'

#: Names of what holds a secret itself.
_NAMES = (
    r'passw|passphrase|pass_?phrase|\bpass\b|_pass\b|dbpass|\bpwd\b|_pwd\b|'
    r'\bpw\b|_pw\b|rootpw|secret|token|private|credential|authorized|'
    r'api_?key|access_?key|activation_?key|(?:tls|ssl|ssh|host|encryption|'
    r'signing|account|shared|luks|master)_?key\b|\bkey_?material|psk|'
    r'registry_login|_logins?\b|cookie|bearer'
)
_NAME = re.compile(_NAMES, re.IGNORECASE)
#: ``password = x``, ``"password": "x"``, ``admin_pw=x``.
_ASSIGNED = re.compile(
    rf'(?:{_NAMES})[\w.-]{{0,40}}(?:["\']\s{{0,4}}:|["\']?\s{{0,4}}=)'
    rf'\s{{0,4}}["\']?(?P<value>[^\s"\']+)',
    re.IGNORECASE,
)
#: ``--password x``, ``-p x`` of sshpass, ``curl -u user:x``.
_OPTION = re.compile(
    r'(?:(?<!\S)--?(?:[\w-]{0,40}(?:passw|passphrase|secret|token|api-?key|'
    r'activation-?key)[\w-]{0,40}|pass|pw|u|user)[ =]\s{0,4}|'
    r'\bsshpass\s{1,4}-p\s{0,4}|\b(?:Bearer|Basic)\s{1,4})'
    r'["\']?(?P<value>[^\s"\']+)',
    re.IGNORECASE,
)
#: Of ``-u`` and ``--user``, a name alone is none.
_USER = re.compile(r'(?<!\S)--?u(ser)?[ =]', re.IGNORECASE)
#: What our messages have where a user and a password belong.
_EXAMPLE_USER = 'USER:PASSWORD'
#: Values that are secrets by themselves: of crypt(3), JSON web tokens, keys.
_ITSELF = re.compile(
    r'\$(?:1|2[aby]|5|6|7|y|gy|argon2\w{1,2})\$[^\s"\']+'
    r'|\beyJ[\w-]{10,512}\.[\w.-]{10,512}'
    r'|-----BEGIN[^\n]*|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}'
    r'|\bglpat-[\w-]{16,}'
)
#: A value that is none: a switch, a number of a few digits, another name.
_HARMLESS = re.compile(
    r'(?:true|false|yes|no|on|off|none|null|\*{3}|\.{3})[,;:.)\]}]{0,4}',
    re.IGNORECASE,
)

#: Keys of ``[pci]alias`` and ``[pci]device_spec``.
_KEYS = (
    'address',
    'bus',
    'capability_type',
    'dependent_devices',
    'dev_type',
    'device_type',
    'devname',
    'domain',
    'function',
    'live_migratable',
    'managed',
    'name',
    'numa_policy',
    'one_time_use',
    'parent_addr',
    'physical_network',
    'product_id',
    'remote_managed',
    'resource_class',
    'slot',
    'traits',
    'trusted',
    'vendor_id',
)
#: Characters of a word that nobody takes for a secret.
_HARMLESS_WORD = 3
#: Keys whose values are names, which may be any word.
_NAMED = 'devname|name|physical_network|resource_class|traits'
_KEYED = (
    rf'(?P<quote>["\'])(?:{_NAMED})(?P=quote)\s{{0,4}}:\s{{0,4}}'
    r'(?P<quotes>["\'])[^"\'\\\s:@]{0,48}(?P=quotes)'
)
_WORD = r'[^\s{}\[\],:"\'=]+'
_PIECES = re.compile(f'(?:{_KEYED})|(?P<word>{_WORD})')
_KNOWN_WORD = re.compile(
    rf'(?:{"|".join(_KEYS)}|type-(?:PF|VF|PCI|VDPA)|true|false|yes|no|on|off|'
    r'required|preferred|legacy|socket|pci|alias|device_spec|None|True|False|'
    r'(?:CUSTOM|HW|COMPUTE)_[A-Z0-9_]{1,100}|P?V?GPU|'
    r'(?:0x)?[0-9A-Fa-f]{1,4}(?:\.[0-7*]?)?|(?!.*\d{5})[.*^$|()?+\\0-9-]{1,16})',
)
#: Of a set of CPUs that cannot be read, a word that is none: three letters, or
#: more digits than a CPU has.
_NO_CPUS = re.compile(r'(?=(?:[^\s,]*?[^\W\d_]){3}|[^\s,]*?\d{6})[^\s,]+')
_PAGES_WORD = re.compile(r'node|size|count|-?\d{1,12}[A-Za-z]{0,3}|[^\d]{1,3}')


def is_secret_name(name: str) -> bool:
    """Return whether what bears a name is a secret itself."""
    return _NAME.search(name) is not None


def holds_secret(text: str) -> bool:
    """Return whether a text has a secret in it, by its form."""
    return masked(text) != text


def masked(text: str) -> str:
    """Return a text without the secrets that can be told by their form."""
    if '=' in text or ':' in text:
        text = _ASSIGNED.sub(_without_value, text)
    text = _OPTION.sub(_without_option, text)
    text = _ITSELF.sub(MASK, text)
    if '@' not in text:
        return text
    return ''.join(map(_without_user, re.split(r'(\s+)', text)))


def _without_value(match: re.Match[str]) -> str:
    if _HARMLESS.fullmatch(match['value']):
        return match[0]
    return match[0][: match.start('value') - match.start()] + MASK


def _without_option(match: re.Match[str]) -> str:
    if _USER.match(match[0]) and ':' not in match['value']:
        return match[0]
    return _without_value(match)


def _without_user(word: str) -> str:
    """Return a word without user and password: of a URL, of ``a:b@host``."""
    end = word.rfind('@')
    if end < 0:
        return word
    start = word.find('://')
    start = 0 if start < 0 else start + len('://')
    user = word[start:end]
    if (':' not in user and not start) or user == _EXAMPLE_USER:
        return word
    return f'{word[:start]}{MASK}{word[end:]}'


def short(text: str) -> str:
    """Return the first line of a value, cut where it is too long."""
    first, _newline, more = text.partition('\n')
    return cut(first) + (' ...' if more else '')


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text that is not longer than a number of characters."""
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f'{text[:half]} ... {text[len(text) - half :]}'


def is_word(text: str) -> bool:
    """Return whether a text is a short word, and no secret by its form."""
    if len(text) > _LONGEST_WORD or not text.isprintable():
        return False
    kinds = (str.islower, str.isupper, str.isdigit)
    is_mixed = all(any(map(kind, text)) for kind in kinds)
    return not is_mixed and not holds_secret(text)


def word(text: object) -> str:
    """Return what to show of a word where a name or a number belongs."""
    first = short(str(text))
    return first if is_name(first) else MASK


def choice(text: object) -> str:
    """Return what to show of a word that is none of some short ones."""
    first = short(str(text))
    return first if len(first) <= _LONGEST_WORD else MASK


def is_name(text: str) -> bool:
    """Return whether a text is short, or is made of words.

    Marks, digits or capitals separate words: ``gpu_a100_80g``,
    ``AggregateInstanceExtraSpecsFilter``.
    """
    if len(text) <= _LONGEST_WORD or _OURS.fullmatch(text):
        return True
    words = _WORDS.findall(_KINDS.sub(r'\g<0>-', text))
    letters = sum(map(len, words))
    return (
        letters > 0
        and max(map(len, words)) <= _LONGEST_PIECE
        and letters >= _LEAST_LETTERS * len(words)
    )


def is_file_name(text: str) -> bool:
    """Return whether a text has the form of a name of a file or a host.

    Its end is that of a file of configuration, or marks separate short parts:
    ``nova-compute.conf.d/20-spec.ini``, ``r12-gpu-a100-03.example.com``.
    """
    if _FILE.search(text, max(0, len(text) - _LONGEST_END)):
        return True
    parts = [part for part in _MARKS.split(text) if part]
    letters = sum(map(str.isalpha, text))
    digits = sum(map(str.isdigit, text))
    return (
        len(parts) > 1
        and letters >= _LEAST_SHARE * (letters + digits)
        and all(map(_PART.fullmatch, parts))
    )


def spec(text: str) -> str:
    """Return what to show of an alias or a device spec that is wrong."""
    return without_odd_values(short(text))


def without_odd_values(text: str) -> str:
    """Return an alias or a device spec without values that are no names."""
    return _PIECES.sub(_piece, text)


def _piece(match: re.Match[str]) -> str:
    found = match['word']
    if found is None:
        # A key and its value.
        value = match[0].split(match['quotes'])[-2]
        if value and not is_name(value):
            return match[0].replace(value, MASK)
        return match[0]
    if len(found) <= _HARMLESS_WORD or _KNOWN_WORD.fullmatch(found):
        return found
    return MASK


def cpus(text: str) -> str:
    """Return what to show of a set of CPUs that cannot be read."""
    return _NO_CPUS.sub(MASK, short(text))


def pages(text: str) -> str:
    """Return what to show of pages that are reserved, and cannot be read."""
    return re.sub(r'[^\s:,]+', _page_word, short(text))


def _page_word(match: re.Match[str]) -> str:
    return match[0] if _PAGES_WORD.fullmatch(match[0]) else MASK


def message(text: str) -> str:
    """Return a message without secrets, and not without end."""
    # What is cut off here is far from what is left in the end.
    text = masked(cut(text, 5 * _LONGEST_MESSAGE))
    if len(text) > LONGEST:
        text = re.sub(r'\S{200,}', lambda match: cut(match[0]), text)
    return cut(text, _LONGEST_MESSAGE)


def finding(text: str) -> str:
    """Return a message about configuration: of it only words are shown."""
    return _LONG.sub(_long_word, message(text))


def _long_word(match: re.Match[str]) -> str:
    text = match[0]
    if _IDENTIFIER.fullmatch(text):
        return text
    # A line end, as Python writes it, is part of no name.
    if '\\' in text:
        return MASK
    # The sentence may end after it.
    name = text.rstrip('.')
    return text if is_name(text) or is_file_name(name) else MASK


def names(texts: collections.abc.Iterable[str]) -> list[str]:
    """Return names, none of them without end."""
    return [cut(text, 60) for text in texts]
